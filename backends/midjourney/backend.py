"""Midjourney, which has no API and allows no automation: a person carries the command there.

The card shows a command to paste into Discord, and an ordinary bot that only reads waits in that
channel for what Midjourney answers. Money leaves when the person pastes, so `Sending` comes before
the command is shown; no bot may stop what was pasted.

A grid comes as one picture. It is delivered first, as it came, so that what was paid for is safe
before anything is made of it; its four parts follow, cut without loss.
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
    Progress,
    Queued,
    Readiness,
    Ready,
    Receipt,
    Request,
    Sending,
)
from backends.errors import BackendError, MissingKey, ServiceFault
from backends.http.client import ClientPool, download
from backends.images.previews import Previews
from backends.images.validation import check
from backends.midjourney.credentials import Credentials, TimeLimits, grid_price
from backends.midjourney.discord_client import check_bot
from backends.midjourney.errors import connection_lost, job_stopped, no_update, no_upload
from backends.midjourney.listener import GridSource, Listeners, ManualSource
from backends.midjourney.matching import ConnectionLost, Job, JobEvent, UploadedGrid
from backends.midjourney.messages import Update, UpdateKind
from backends.midjourney.request import Command, Options, build_command
from backends.midjourney.response import build_honoured, split_grid

if TYPE_CHECKING:
    import httpx2

MAX_CONCURRENT_JOBS = 10
"""Jobs that one subscription draws and queues at once."""

MAX_PREVIEW_SECONDS = 5.0
REMOVED_WAIT_SECONDS = 60.0
"""Seconds that one still waits for pictures after Midjourney took its message away."""

PASTE_AND_UPLOAD = (
    "Paste this into Discord, then bring the grid here: no bot of yours listens there."
)
NO_BOT = "No bot of yours listens: you paste the command and bring the grid yourself."
PASTE = "Paste this into Discord. Once pasted, Midjourney draws it even if you stop it here."


class Midjourney(Backend):
    """Shows commands, and waits for what Midjourney answers to them."""

    name = "midjourney"
    label = "Midjourney"
    Options = Options
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
        """Say whether there is a bot and a channel, or somebody who brings the grid instead."""
        try:
            account = Credentials.from_config_if_set(self.config)
        except MissingKey as error:
            return Ready(Readiness.NEEDS_KEY, str(error))
        except BackendError as error:
            return Ready(Readiness.UNAVAILABLE, str(error))
        return Ready(Readiness.READY, NO_BOT if account is None else "")

    async def check(self, server: str = "") -> str:
        """Let the bot say who it is and look at its channel, without listening."""
        return await check_bot(Credentials.from_config(self.config))

    def lane(self, model: Model) -> Lane:
        """One lane for all models: they draw on one subscription."""
        return Lane("midjourney", MAX_CONCURRENT_JOBS)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Show the command, then follow what becomes of it."""
        account, waits = (
            Credentials.from_config_if_set(self.config),
            TimeLimits.from_config(self.config),
        )
        command = build_command(model, request)
        ears: GridSource = ManualSource()
        if account is not None:
            yield Queued(message="Connecting to Discord")
            ears = await self._listeners.get(account)
        yield Sending()
        with ears.register(command) as job:
            asked = PASTE_AND_UPLOAD if account is None else PASTE
            yield Queued(message=asked, command=command.text, take=job.submit_grid)
            while True:
                match await self._next_event(ears, job, account, waits):
                    case UploadedGrid() | Update(kind=UpdateKind.GRID) as grid:
                        break
                    case Update(kind=UpdateKind.PROGRESS) as news:
                        preview = await self._make_preview(job, news)
                        yield Progress(step=news.percent, steps=100, preview=preview)
                    case Update():
                        yield Queued(message="In Midjourney's queue")
                    case _:
                        continue
            began = job.started_at
        async with aclosing(self._deliver(grid, began, command, model)) as results:
            async for result in results:
                yield result

    async def aclose(self) -> None:
        """Disconnect the running loop's bot and close its connections."""
        await self._listeners.aclose()
        self._previews.close()
        await self._clients.aclose()

    async def _next_event(
        self, ears: GridSource, job: Job, account: Credentials | None, waits: TimeLimits
    ) -> JobEvent:
        """Return the next news, or raise what ends the job without pictures."""
        if account is None:
            if (brought := await ears.next_event(job, waits.paste + waits.update)) is None:
                raise no_upload(waits)
            return brought
        wait = waits.update if job.is_started else waits.paste
        news = await ears.next_event(
            job, min(wait, REMOVED_WAIT_SECONDS) if job.was_removed else wait
        )
        match news:
            case None:
                raise no_update(job, waits)
            case ConnectionLost(error=error):
                raise connection_lost(error, account) from error
            case Update(error=BackendError() as error):
                raise error
            case Update(kind=UpdateKind.STOPPED):
                raise job_stopped()
            case _:
                return news

    async def _make_preview(self, job: Job, sighting: Update) -> Preview | None:
        """Return a look at the unfinished grid, unless there is newer news already."""
        if sighting.message.attachment_url is None or not job.events.empty():
            return None
        try:
            async with asyncio.timeout(MAX_PREVIEW_SECONDS):
                data = await download(await self._clients.get(), sighting.message.attachment_url)
        except (BackendError, TimeoutError):  # its address is gone as soon as the next one is there
            return None
        return await self._previews.make(lambda body: body, data)

    async def _deliver(
        self,
        grid: Update | UploadedGrid,
        began: datetime.datetime | None,
        command: Command,
        model: Model,
    ) -> AsyncGenerator[Picture | Receipt, None]:
        started = time.perf_counter()
        sighting = grid if isinstance(grid, Update) else None
        # At once: the addresses of Discord's attachments expire.
        data = await self._fetch_grid(grid)
        fetching = time.perf_counter() - started if sighting else None
        whole = await asyncio.to_thread(check, data, seed=sighting.seed if sighting else None)
        yield whole
        parts = await asyncio.to_thread(_split_if_possible, whole)
        for part in parts:
            yield part
        seconds = (
            (sighting.message.updated_at - began).total_seconds() if sighting and began else 0.0
        )
        yield Receipt(
            honoured=build_honoured(command, sighting, parts),
            charged=grid_price(model, self.config),
            generate=seconds if seconds > 0 else None,
            download=fetching,
        )

    async def _fetch_grid(self, grid: Update | UploadedGrid) -> bytes:
        if isinstance(grid, UploadedGrid):
            return grid.data
        return await download(await self._clients.get(), grid.message.attachment_url or "")


def _split_if_possible(grid: Picture) -> list[Picture]:
    """Return the grid's pictures; none where it cannot be cut, since the grid itself is safe."""
    try:
        return [replace(part, seed=grid.seed) for part in split_grid(grid.data)]
    except ServiceFault:
        return []
