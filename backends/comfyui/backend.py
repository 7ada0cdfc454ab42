"""Backend for ComfyUI servers: any checkpoint that they have, and the user's own workflows.

The server belongs to the user, so nothing is billed; but it does one thing at a time, and may have
other users. A prompt is posted once, under an id made here; its progress comes over a websocket, or
is polled where that is closed. It is stopped only while it is the one that runs.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import (
    Applied,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Picture,
    Progress,
    Readiness,
    Ready,
    Receipt,
    Request,
    Sending,
    UserModels,
)
from backends.comfyui import library
from backends.comfyui.client import Client, list_checkpoints, list_options, require_comfyui
from backends.comfyui.errors import explain
from backends.comfyui.execution import Result, execute
from backends.comfyui.monitor import Monitor
from backends.comfyui.prepare import require_output, resolve_names, upload
from backends.comfyui.request import SYNTAX, ApiRequest, Options, build_request, server_from_config
from backends.comfyui.websocket import WebSocket
from backends.errors import BackendError, NotReady
from backends.fit import record_actual
from backends.hosted import HostedBackend
from backends.http.client import Timeouts
from backends.http.self_hosted import SelfHostedServer
from backends.images.black import black_picture_note
from backends.images.previews import Previews
from backends.settings import host_of
from backends.wording import list_models

if TYPE_CHECKING:
    import httpx2


class ComfyUI(HostedBackend):
    """Draws on the user's own server (`COMFYUI_URL`)."""

    name = "comfyui"
    label = "ComfyUI server"
    Options = Options
    syntax = SYNTAX
    keys = (Key("COMFYUI_URL", "https://docs.comfy.org/development/comfyui-server/comms_overview"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._previews = Previews()

    def credentials(self, model: Model) -> SelfHostedServer:
        """Return the server's address and login; only a job finds out whether it runs."""
        return server_from_config(self.config)

    def ready(self, model: Model) -> Ready:
        """Return whether the settings are complete, and the workflow of `model` can be used."""
        ready = super().ready(model)
        if ready.state is Readiness.READY and (
            fault := library.fault(self.config.home, model.source)
        ):
            return Ready(Readiness.UNAVAILABLE, fault)
        return ready

    @classmethod
    def user_models(cls, config: Config) -> UserModels:
        """Return a model for each workflow in the data folder, none without a server to share."""
        if config.visitors:
            try:
                server_from_config(config)
            except BackendError:
                return UserModels()
        return library.user_models(config.home)

    async def check(self, server: str = "") -> str:
        """Ask the server for its list of checkpoints."""
        target = server_from_config(self.config)
        try:
            client = Client(await self._clients.get(), target, Timeouts.from_config(self.config))
            await require_comfyui(client)
            checkpoints = await list_checkpoints(client)
        except Exception as error:
            raise explain(error, target, sent=False) from error
        known = "It does not tell its checkpoints." if checkpoints is None else None
        return f"{target.name} answers. {known or list_models(checkpoints or [])}"

    async def option_values(self) -> Mapping[str, Sequence[str]]:
        """Return the server's samplers, schedulers and ControlNet models."""
        target, limits = server_from_config(self.config), Timeouts.from_config(self.config)
        return await list_options(Client(await self._clients.get(), target, limits))

    def lane(self, model: Model) -> Lane:
        """Return a lane of one job at a time for each server."""
        try:
            return Lane(f"comfyui {host_of(server_from_config(self.config).url)}", 1)
        except NotReady:
            return Lane("comfyui", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`; models and names that the server lacks fail before anything is sent."""
        target = server_from_config(self.config)
        sent = False
        try:
            timeouts = Timeouts.from_config(self.config)
            client = Client(await self._clients.get(), target, timeouts)
            api_request = await asyncio.to_thread(build_request, model, request, self.config.home)
            await require_comfyui(client)
            await resolve_names(client, api_request)
            async with aclosing(WebSocket(target, api_request.client_id, timeouts)) as socket:
                monitor = Monitor(client, socket, self._previews, api_request.client_id, timeouts)
                has_socket = await socket.open()  # before the first message can arrive
                await require_output(client, api_request.workflow, has_socket=has_socket)
                sent = True
                yield Sending()
                async with aclosing(_execute_all(client, monitor, api_request)) as events:
                    async for event in events:
                        yield event
        except BackendError:
            raise
        except Exception as error:
            raise explain(error, target, sent=sent) from error

    async def aclose(self) -> None:
        """Close the previews' worker and the running loop's connections."""
        self._previews.close()
        await super().aclose()


async def _execute_all(
    client: Client, monitor: Monitor, api_request: ApiRequest
) -> AsyncGenerator[Event, None]:
    """Run one prompt after the other; a failure keeps the pictures of the prompts before it."""
    await upload(client, api_request)
    pictures: list[Picture] = []
    results: list[Result] = []
    failures: list[BackendError] = []
    for number, seed in enumerate(api_request.seeds):
        prompt_events = execute(
            client,
            monitor,
            api_request.workflow,
            api_request.build_graph(seed),
            seed,
            api_request.client_id,
        )
        try:
            async with aclosing(prompt_events) as events:
                async for event in events:
                    if isinstance(event, Result):
                        results.append(event)
                        failures.extend(event.failures)
                        continue
                    if isinstance(event, Picture):
                        pictures.append(event)
                    yield overall_progress(event, number, len(api_request.seeds))
        except Exception as error:
            if not pictures:
                raise
            failures.append(explain(error, client.server, sent=True))
            break
    receipt = build_receipt(api_request, pictures, results, failures)
    yield replace(receipt, honoured={**receipt.honoured, **await black_picture_note(pictures)})


def overall_progress(event: Event, number: int, count: int) -> Event:
    """Return the progress of prompt `number` of `count` as progress of all prompts."""
    match event:
        case Progress(step=int() as step, steps=int() as steps) if count > 1:
            return replace(event, step=number * steps + step, steps=count * steps)
        case _:
            return event


def build_receipt(
    api_request: ApiRequest,
    pictures: list[Picture],
    results: list[Result],
    failures: list[BackendError],
) -> Receipt:
    """Return the receipt of all prompts; `failures` explain why pictures are missing."""
    honoured = record_actual(api_request.honoured, pictures, failures)
    if left_out := next((each.left_out for each in results if each.left_out), ""):
        note = f"parts of the workflow were left out by the server: {left_out}"
        honoured["workflow"] = Applied(None, api_request.workflow.name, note)
    cached = sum(result.cached for result in results)
    if cached:
        some = "" if cached == len(results) else f" for {cached} of {len(results)} pictures"
        note = f"cached by the server{some}: the time says nothing about its speed"
        honoured["cache"] = Applied(None, True, note)
    return Receipt(
        honoured=honoured,
        load=_sum_if_known([result.load for result in results if result.load is not None]),
        generate=_sum_if_known([result.generate for result in results]),
        download=_sum_if_known([result.download for result in results]),
        cached=cached > 0,
    )


def _sum_if_known(seconds: Sequence[float | None]) -> float | None:
    """Return the sum of the prompts' seconds, None if one of them is unknown."""
    known = [each for each in seconds if each is not None]
    return sum(known) if known and len(known) == len(seconds) else None
