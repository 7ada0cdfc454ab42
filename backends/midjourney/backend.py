"""Backend for Midjourney, which has no API and allows no automation: a person pastes each command.

The card shows a command to paste into Discord, and an ordinary bot that only reads waits in that
channel for Midjourney's messages. The paste is what costs money, so `Sending` comes before the
command is shown; a bot cannot stop a pasted command.

A grid is one picture. It is delivered first, with its original bytes, so that what was paid for is
safe before anything is made of it; its four parts follow, cut without loss.
"""

import asyncio
import datetime
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import (
    Backend,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Picture,
    Preview,
    Price,
    Progress,
    Queued,
    Readiness,
    Ready,
    Receipt,
    Request,
    Sending,
)
from backends.errors import BackendError, MissingKey, ServiceFault
from backends.http.client import ClientPool, Timeouts
from backends.http.pictures import PictureFetcher
from backends.images.previews import Previews
from backends.images.validation import check
from backends.midjourney.credentials import (
    DEFAULT_API_BASE,
    Credentials,
    TimeLimits,
    grid_price,
)
from backends.midjourney.discord_client import check_bot
from backends.midjourney.errors import connection_lost, job_stopped, no_update, no_upload
from backends.midjourney.listener import MAX_CONNECT_SECONDS, GridSource, Listeners, ManualSource
from backends.midjourney.matching import ConnectionLost, Job, JobEvent, UploadedGrid
from backends.midjourney.messages import Update, UpdateKind
from backends.midjourney.request import SYNTAX, Command, Options, build_command
from backends.midjourney.response import build_honoured, split_grid
from backends.settings import address

if TYPE_CHECKING:
    import httpx2

MAX_CONCURRENT_JOBS = 10
"""Jobs that one subscription draws and queues at the same time."""

MAX_PREVIEW_SECONDS = 5.0
"""Limit for downloading an unfinished grid, in seconds."""
REMOVED_WAIT_SECONDS = 60.0
"""Seconds to wait for pictures after Midjourney has deleted its message."""

PASTE_AND_UPLOAD = (
    "Paste this into Discord, then bring the grid here: no bot of yours listens there."
)
NO_BOT = "No bot of yours listens: you paste the command and bring the grid yourself."
PASTE = "Paste this into Discord. Once pasted, Midjourney draws it even if you stop it here."


class Midjourney(Backend):
    """Shows commands to paste, and waits for Midjourney's messages about them."""

    name = "midjourney"
    label = "Midjourney"
    Options = Options
    syntax = SYNTAX
    keys = (
        Key("DISCORD_BOT_TOKEN", "https://discord.com/developers/applications"),
        Key("MIDJOURNEY_CHANNEL", "https://discord.com/developers/docs/resources/channel"),
    )

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._listeners = Listeners(config)
        self._previews = Previews()

    def ready(self, model: Model) -> Ready:
        """Say whether there is a bot and a channel, or a person who can upload the grid instead."""
        try:
            credentials = Credentials.from_config_if_set(self.config)
        except MissingKey as error:
            return Ready(Readiness.NEEDS_KEY, str(error))
        except BackendError as error:
            return Ready(Readiness.UNAVAILABLE, str(error))
        return Ready(Readiness.READY, NO_BOT if credentials is None else "")

    def price(self, model: Model) -> Price:
        """Return the price of a grid: that of MIDJOURNEY_GRID_USD, if it is set."""
        return replace(model.price, per_image=grid_price(model, self.config))

    async def check(self, server: str = "") -> str:
        """Log the bot in and read its channel, without listening."""
        seconds = min(Timeouts.from_config(self.config).answer, MAX_CONNECT_SECONDS)
        return await check_bot(Credentials.from_config(self.config), seconds)

    def lane(self, model: Model) -> Lane:
        """Return one lane for all models: they draw on one subscription."""
        return Lane("midjourney", MAX_CONCURRENT_JOBS)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Show the command, follow its progress, and deliver the grid and its parts."""
        credentials = Credentials.from_config_if_set(self.config)
        limits = TimeLimits.from_config(self.config)
        command = build_command(model, request)
        source: GridSource = ManualSource()
        if credentials is not None:
            yield Queued(message="Connecting to Discord")
            source = await self._listeners.get(credentials)
        yield Sending()
        with source.register(command) as job:
            message = PASTE_AND_UPLOAD if credentials is None else PASTE
            yield Queued(message=message, command=command.text, take=job.submit_grid)
            is_waiting = True
            while True:
                match await self._next_event(source, job, credentials, limits):
                    case UploadedGrid() | Update(kind=UpdateKind.GRID) as grid:
                        break
                    case Update(kind=UpdateKind.PROGRESS) as event:
                        progress = Progress(step=event.percent, steps=100)
                        if is_waiting:  # the job's turn begins before its preview is fetched
                            yield progress
                        is_waiting = False
                        preview = await self._make_preview(job, event)
                        yield replace(progress, preview=preview)
                    case Update():
                        yield Queued(message="In Midjourney's queue")
                        is_waiting = True
                    case _:
                        continue
            started_at = job.started_at
        async with aclosing(self._deliver(grid, started_at, command, model)) as results:
            async for result in results:
                yield result

    async def aclose(self) -> None:
        """Disconnect the running loop's bot and close its connections."""
        await self._listeners.aclose()
        self._previews.close()
        await self._clients.aclose()

    async def _next_event(
        self, source: GridSource, job: Job, credentials: Credentials | None, limits: TimeLimits
    ) -> JobEvent:
        """Return the job's next event, or raise the error that ends it without pictures."""
        if credentials is None:
            if (uploaded := await source.next_event(job, limits.paste + limits.update)) is None:
                raise no_upload(limits)
            return uploaded
        wait = limits.update if job.is_started else limits.paste
        if job.was_removed:
            wait = min(wait, REMOVED_WAIT_SECONDS)
        event = await source.next_event(job, wait)
        match event:
            case None:
                raise no_update(job, limits)
            case ConnectionLost(error=error):
                raise connection_lost(error, credentials) from error
            case Update(error=BackendError() as error):
                raise error
            case Update(kind=UpdateKind.STOPPED):
                raise job_stopped()
            case _:
                return event

    async def _make_preview(self, job: Job, update: Update) -> Preview | None:
        """Return a preview of the unfinished grid, None if a newer event is already there."""
        if update.message.attachment_url is None or not job.events.empty():
            return None
        try:
            async with asyncio.timeout(MAX_PREVIEW_SECONDS):
                data = await self._download(update.message.attachment_url)
        except (BackendError, TimeoutError):  # the next update makes the address invalid
            return None
        return await self._previews.make(lambda body: body, data)

    async def _deliver(
        self,
        grid: Update | UploadedGrid,
        started_at: datetime.datetime | None,
        command: Command,
        model: Model,
    ) -> AsyncGenerator[Picture | Receipt, None]:
        fetch_started = time.perf_counter()
        update = grid if isinstance(grid, Update) else None
        # Download at once: the addresses of Discord's attachments expire.
        data = await self._fetch_grid(grid)
        download_seconds = time.perf_counter() - fetch_started if update else None
        grid_picture = await asyncio.to_thread(check, data, seed=update.seed if update else None)
        yield grid_picture
        parts = await asyncio.to_thread(_split_if_possible, grid_picture)
        for part in parts:
            yield part
        seconds = 0.0
        if update is not None and started_at is not None:
            seconds = (update.message.updated_at - started_at).total_seconds()
        yield Receipt(
            honoured=build_honoured(command, update, parts),
            charged=grid_price(model, self.config),
            generate=seconds if seconds > 0 else None,
            download=download_seconds,
        )

    async def _fetch_grid(self, grid: Update | UploadedGrid) -> bytes:
        if isinstance(grid, UploadedGrid):
            return grid.data
        return await self._download(grid.message.attachment_url or "")

    async def _download(self, url: str) -> bytes:
        discord = address(self.config, "DISCORD_API_BASE", DEFAULT_API_BASE)
        return await PictureFetcher(self._clients, discord).fetch(url)


def _split_if_possible(grid: Picture) -> list[Picture]:
    """Return the grid's parts; none if it cannot be cut, since the grid itself is delivered."""
    try:
        return [replace(part, seed=grid.seed) for part in split_grid(grid.data)]
    except ServiceFault:
        return []
