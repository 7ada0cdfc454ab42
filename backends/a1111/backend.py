"""Backend for AUTOMATIC1111 servers: that web UI, Forge, SD.Next, started with `--api`.

The server belongs to the user, so nothing is billed; but it does one thing at a time, and may have
other users. Each job has its own task id, is followed by it, and is interrupted only while it is
the one that runs. A checkpoint is selected for one request, never for the whole server.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.a1111.client import (
    Checkpoint,
    Client,
    find_checkpoint,
    find_sampler,
    find_schedule,
    list_checkpoints,
    list_options,
)
from backends.a1111.control import add_controls
from backends.a1111.errors import explain
from backends.a1111.lora import resolve_tags
from backends.a1111.progress import Monitor
from backends.a1111.request import (
    CURRENT_CHECKPOINT,
    SYNTAX,
    ApiRequest,
    Options,
    build_request,
    server_from_config,
)
from backends.a1111.response import (
    build_receipt,
    generation_seconds,
    parse_response,
    raise_if_unfinished,
)
from backends.base import (
    Applied,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Progress,
    Queued,
    Request,
    Sending,
)
from backends.errors import BackendError, NotReady
from backends.hosted import HostedBackend
from backends.http.self_hosted import SelfHostedServer
from backends.images.black import black_picture_note
from backends.images.previews import Previews
from backends.settings import host_of
from backends.wording import list_models

if TYPE_CHECKING:
    import httpx2


class A1111(HostedBackend):
    """Draws on the user's own server (`A1111_URL`), with any checkpoint that it has."""

    name = "a1111"
    label = "A1111 server"
    Options = Options
    syntax = SYNTAX
    keys = (Key("A1111_URL", "https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._previews = Previews()

    def credentials(self, model: Model) -> SelfHostedServer:
        """Return the server's address and login; only a job finds out whether it runs."""
        return server_from_config(self.config)

    async def check(self, server: str = "") -> str:
        """Ask the server for its list of checkpoints."""
        target = server_from_config(self.config)
        try:
            checkpoints = await list_checkpoints(Client(await self._clients.get(), target))
        except Exception as error:
            raise explain(error, target, sent=False) from error
        return f"{target.name} answers. {list_models([entry.title for entry in checkpoints])}"

    async def option_values(self) -> Mapping[str, Sequence[str]]:
        """Return the server's samplers, schedule types and ControlNet models."""
        return await list_options(
            Client(await self._clients.get(), server_from_config(self.config))
        )

    def lane(self, model: Model) -> Lane:
        """Return a lane of one job at a time for each server."""
        try:
            return Lane(f"a1111 {host_of(server_from_config(self.config).url)}", 1)
        except NotReady:
            return Lane("a1111", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`; models and names that the server lacks fail before anything is sent."""
        server = server_from_config(self.config)
        sent = False
        try:
            client = Client(await self._clients.get(), server)
            api_request = await asyncio.to_thread(build_request, model, request)
            checkpoint = await _resolve_names(client, model, api_request)
            monitor = Monitor(client, self._previews, api_request)
            await monitor.start()
            sent = True
            yield Sending()
            async with aclosing(_post_and_follow(client, monitor, api_request)) as events:
                async for event in events:
                    if isinstance(event, Progress | Queued):
                        yield event
                        continue
                    content = event.raise_for_status().content
                    parsed, _ = await asyncio.gather(
                        asyncio.to_thread(
                            parse_response,
                            content,
                            api_request.count,
                            has_maps=bool(api_request.controls),
                        ),
                        monitor.finish(),
                    )
                    for picture in parsed.pictures:
                        yield picture
                    raise_if_unfinished(parsed, server.name, interrupted=monitor.interrupted)
                    receipt = build_receipt(
                        api_request,
                        parsed,
                        checkpoint,
                        generation_seconds(event, monitor.queue_seconds),
                    )
                    black = await black_picture_note(parsed.pictures)
                    yield replace(receipt, honoured={**receipt.honoured, **black})
        except BackendError:
            raise
        except Exception as error:
            raise explain(error, server, sent=sent) from error

    async def aclose(self) -> None:
        """Close the previews' worker and the running loop's connections."""
        self._previews.close()
        await super().aclose()


async def _resolve_names(
    client: Client, model: Model, api_request: ApiRequest
) -> Checkpoint | None:
    """Complete `api_request` with names as the server writes them, and with the controls.

    The checkpoint that is requested by name is returned, None for the one that is loaded.
    """
    checkpoint = None
    if model.source != CURRENT_CHECKPOINT:
        checkpoint = await find_checkpoint(client, model.source)
        api_request.body["override_settings"] = {"sd_model_checkpoint": checkpoint.title}
        api_request.body["override_settings_restore_afterwards"] = True
    options = api_request.options
    if options.sampler_name:
        used = await find_sampler(client, options.sampler_name)
        api_request.body["sampler_name"] = used
        api_request.honoured["sampler_name"] = Applied(options.sampler_name, used)
    if options.scheduler:
        used = await find_schedule(client, options.scheduler)
        api_request.honoured["scheduler"] = Applied(options.scheduler, used)
        api_request.body["scheduler"] = used
    await resolve_tags(client, api_request)
    if api_request.controls:
        await add_controls(client, model, api_request)
    return checkpoint


async def _post_and_follow(
    client: Client, monitor: Monitor, api_request: ApiRequest
) -> AsyncGenerator["Progress | Queued | httpx2.Response", None]:
    """Post `api_request`, yield its progress, and at last the response.

    Closing the generator earlier interrupts the job on the server.
    """
    posting = asyncio.create_task(
        client.generate(api_request.path, api_request.body, monitor.answer_begins)
    )
    answered = False
    try:
        while not posting.done():
            polling = asyncio.create_task(monitor.poll())
            try:
                await asyncio.wait({posting, polling}, return_when=asyncio.FIRST_COMPLETED)
                event = polling.result() if polling.done() else None
            finally:
                await _cancel(polling)
            if event is not None:
                yield event
        response = posting.result()
        answered = True
    finally:
        if not answered:
            # Before the connection closes: some servers draw on without it.
            await monitor.interrupt()
        await _cancel(posting)
    yield response


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
