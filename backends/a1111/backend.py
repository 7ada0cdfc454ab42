"""Servers of the AUTOMATIC1111 kind: that web UI, Forge, SD.Next, started with `--api`.

The server belongs to the user, so nothing is billed; but it does one thing at a time, and may have
other users. Each job has a task of its own there, is watched by it, and is interrupted only while
it is the one that is worked on. A checkpoint is chosen for the one request, never for the server.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.a1111.client import (
    Checkpoint,
    Client,
    find_checkpoint,
    find_sampler,
    find_schedule,
    list_checkpoints,
)
from backends.a1111.control import add_controls
from backends.a1111.errors import explain
from backends.a1111.progress import Monitor
from backends.a1111.request import (
    CURRENT_CHECKPOINT,
    ApiRequest,
    Options,
    build_request,
    server_from_config,
)
from backends.a1111.response import build_receipt, generation_seconds, parse_response
from backends.base import (
    Applied,
    Backend,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Progress,
    Queued,
    Ready,
    Request,
    Sending,
)
from backends.errors import BackendError, NotReady
from backends.http.client import ClientPool
from backends.images.previews import Previews
from backends.readiness import readiness
from backends.settings import host_of
from backends.wording import list_models

if TYPE_CHECKING:
    import httpx2


class A1111(Backend):
    """Draws on the user's own server (`A1111_URL`), with any checkpoint that it has."""

    name = "a1111"
    label = "A1111 server"
    Options = Options
    keys = (Key("A1111_URL", "https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API"),)

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
        return f"{own.name} answers. {list_models([each.title for each in found])}"

    def lane(self, model: Model) -> Lane:
        """One job at a time on each server."""
        try:
            return Lane(f"a1111 {host_of(server_from_config(self.config).url)}", 1)
        except NotReady:
            return Lane("a1111", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`; what the server lacks is found out before anything is sent."""
        server = server_from_config(self.config)
        sent = False
        try:
            wire = Client(await self._clients.get(), server)
            call = await asyncio.to_thread(build_request, model, request)
            chosen = await _resolve_names(wire, model, call)
            watch = Monitor(wire, self._previews, call)
            await watch.start()
            sent = True
            yield Sending()
            async with aclosing(_post_and_follow(wire, watch, call)) as parts:
                async for part in parts:
                    if isinstance(part, Progress | Queued):
                        yield part
                        continue
                    content = part.raise_for_status().content
                    answer = await asyncio.to_thread(parse_response, content, call.count)
                    for picture in answer.pictures:
                        yield picture
                    yield build_receipt(
                        call, answer, chosen, generation_seconds(part, watch.queue_seconds)
                    )
        except BackendError:
            raise
        except Exception as error:
            raise explain(error, server, sent=sent) from error

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        self._previews.close()
        await self._clients.aclose()


async def _resolve_names(wire: Client, model: Model, call: ApiRequest) -> Checkpoint | None:
    """Complete `call` with what the server calls things; return the checkpoint asked for."""
    chosen = None
    if model.source != CURRENT_CHECKPOINT:
        chosen = await find_checkpoint(wire, model.source)
        call.body["override_settings"] = {"sd_model_checkpoint": chosen.title}
        call.body["override_settings_restore_afterwards"] = True
    options = call.options
    if options.sampler_name:
        used = await find_sampler(wire, options.sampler_name)
        call.body["sampler_name"] = used
        call.honoured["sampler_name"] = Applied(options.sampler_name, used)
    if options.scheduler:
        used = await find_schedule(wire, options.scheduler)
        note = "" if used else "schedule type ignored: the server is too old to know of any"
        call.honoured["scheduler"] = Applied(options.scheduler, used, note)
        if used:
            call.body["scheduler"] = used
    if call.controls:
        await add_controls(wire, model, call)
    return chosen


async def _post_and_follow(
    wire: Client, watch: Monitor, call: ApiRequest
) -> AsyncGenerator["Progress | Queued | httpx2.Response", None]:
    """Send `call`, look after it while it is drawn, yield its answer last."""
    drawing = asyncio.create_task(wire.post(call.path, call.body))
    answered = False
    try:
        while not drawing.done():
            looking = asyncio.create_task(watch.poll())
            try:
                await asyncio.wait({drawing, looking}, return_when=asyncio.FIRST_COMPLETED)
                news = looking.result() if looking.done() else None
            finally:
                await _cancel(looking)
            if news is not None:
                yield news
        response = drawing.result()
        answered = True
    finally:
        if not answered:
            await watch.interrupt()  # before the connection goes: some servers draw on without it
        await _cancel(drawing)
    yield response


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
