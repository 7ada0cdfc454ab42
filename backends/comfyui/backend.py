"""ComfyUI servers: any checkpoint that they have, and the user's own workflows.

The server belongs to the user, so nothing is billed; but it does one thing at a time, and may have
other users. A prompt is posted once, under an id of our own; what becomes of it is heard over a
websocket, or looked up where that is gone. It is stopped only while it is the one that runs.

What the prompts of one job on a ComfyUI server come to, taken together.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import (
    Applied,
    Backend,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Picture,
    Progress,
    Ready,
    Receipt,
    Request,
    Sending,
)
from backends.comfyui.client import Client, list_checkpoints
from backends.comfyui.errors import explain
from backends.comfyui.execution import Result, execute
from backends.comfyui.monitor import Monitor
from backends.comfyui.prepare import resolve_names, upload
from backends.comfyui.request import ApiRequest, Options, build_request, server_from_config
from backends.comfyui.websocket import WebSocket
from backends.errors import BackendError, NotReady
from backends.fit import record_actual
from backends.http.client import ClientPool, Timeouts
from backends.images.previews import Previews
from backends.readiness import readiness
from backends.settings import host_of
from backends.wording import list_models

if TYPE_CHECKING:
    import httpx2


class ComfyUI(Backend):
    """Draws on the user's own server (`COMFYUI_URL`)."""

    name = "comfyui"
    label = "ComfyUI server"
    Options = Options
    keys = (Key("COMFYUI_URL", "https://docs.comfy.org/development/comfyui-server/comms_overview"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._previews = Previews()

    def ready(self, model: Model) -> Ready:
        """Say whether the server's address is known; whether it runs, only a job tells."""
        return readiness(lambda: server_from_config(self.config))

    async def check(self, server: str = "") -> str:
        """Ask for its list of checkpoints."""
        own = server_from_config(self.config)
        try:
            found = await list_checkpoints(Client(await self._clients.get(), own))
        except Exception as error:
            raise explain(error, own, sent=False) from error
        return f"{own.name} answers. {list_models(found)}"

    def lane(self, model: Model) -> Lane:
        """One job at a time on each server."""
        try:
            return Lane(f"comfyui {host_of(server_from_config(self.config).url)}", 1)
        except NotReady:
            return Lane("comfyui", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`; what the server lacks is found out before anything is sent."""
        own = server_from_config(self.config)
        sent = False
        try:
            wire = Client(await self._clients.get(), own)
            call = await asyncio.to_thread(build_request, model, request, self.config.home)
            await wire.get("/queue")  # it is there, and lets us in
            await resolve_names(wire, call)
            patience = Timeouts.from_config(self.config)
            async with aclosing(WebSocket(own, call.client_id, patience)) as socket:
                watch = Monitor(wire, socket, self._previews, call.client_id, patience)
                await socket.open()  # before there is anything to hear
                sent = True
                yield Sending()
                async with aclosing(_execute_all(wire, watch, call)) as events:
                    async for event in events:
                        yield event
        except BackendError:
            raise
        except Exception as error:
            raise explain(error, own, sent=sent) from error

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        self._previews.close()
        await self._clients.aclose()


async def _execute_all(
    wire: Client, watch: Monitor, call: ApiRequest
) -> AsyncGenerator[Event, None]:
    """Draw one prompt after the other; what one of them lacks, the others do not lose."""
    await upload(wire, call)
    pictures: list[Picture] = []
    made: list[Result] = []
    failures: list[BackendError] = []
    for number, seed in enumerate(call.seeds):
        parts = execute(wire, watch, call.workflow, call.build_graph(seed), seed, call.client_id)
        try:
            async with aclosing(parts) as events:
                async for event in events:
                    if isinstance(event, Result):
                        made.append(event)
                        continue
                    if isinstance(event, Picture):
                        pictures.append(event)
                    yield overall_progress(event, number, len(call.seeds))
        except Exception as error:
            if not pictures:
                raise
            failures.append(explain(error, wire.server, sent=True))
            break
    yield build_receipt(call, pictures, made, failures)


def overall_progress(event: Event, number: int, count: int) -> Event:
    """Return the progress of one of several prompts as that of them all."""
    match event:
        case Progress(step=int() as step, steps=int() as steps) if count > 1:
            return replace(event, step=number * steps + step, steps=count * steps)
        case _:
            return event


def build_receipt(
    call: ApiRequest, pictures: list[Picture], made: list[Result], failures: list[BackendError]
) -> Receipt:
    """Return what a job came to; `failures` says why some of its pictures did not come."""
    honoured = record_actual(call.honoured, pictures, failures)
    cached = sum(drawn.cached for drawn in made)
    if cached:
        some = "" if cached == len(made) else f" for {cached} of {len(made)} pictures"
        note = f"cached by the server{some}: the time says nothing about its speed"
        honoured["cache"] = Applied(None, True, note)
    return Receipt(
        honoured=honoured,
        load=_sum_if_known([drawn.load for drawn in made if drawn.load is not None]),
        generate=_sum_if_known([drawn.generate for drawn in made]),
        download=_sum_if_known([drawn.download for drawn in made]),
        cached=cached > 0,
    )


def _sum_if_known(seconds: Sequence[float | None]) -> float | None:
    """The seconds of all prompts; None where one of them is not known."""
    known = [each for each in seconds if each is not None]
    return sum(known) if known and len(known) == len(seconds) else None
