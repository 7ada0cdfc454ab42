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
from backends.midjourney.credentials import Credentials, Waits, grid_price
from backends.midjourney.discord_client import check_bot
from backends.midjourney.errors import lost, silent, stopped, unbrought
from backends.midjourney.listener import GridSource, Listeners, ManualSource
from backends.midjourney.matching import Job, Lost, News, UploadedGrid
from backends.midjourney.messages import Kind, Update
from backends.midjourney.request import Command, Options, build_command
from backends.midjourney.response import honoured, split_grid

if TYPE_CHECKING:
    import httpx2

AT_ONCE = 10
"""Jobs that one subscription draws and queues at once."""

MOST_LOOKING = 5.0
REMOVED_WAIT = 60.0
"""Seconds that one still waits for pictures after Midjourney took its message away."""

BY_HAND = "Paste this into Discord, then bring the grid here: no bot of yours listens there."
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
            account = Credentials.find(self.config)
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
        return Lane("midjourney", AT_ONCE)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Show the command, then follow what becomes of it."""
        account, waits = Credentials.find(self.config), Waits.from_config(self.config)
        command = build_command(model, request)
        ears: GridSource = ManualSource()
        if account is not None:
            yield Queued(message="Connecting to Discord")
            ears = await self._listeners.here(account)
        yield Sending()
        with ears.waiting(command) as job:
            asked = BY_HAND if account is None else PASTE
            yield Queued(message=asked, command=command.text, take=job.hand)
            while True:
                match await self._next(ears, job, account, waits):
                    case UploadedGrid() | Update(kind=Kind.GRID) as grid:
                        break
                    case Update(kind=Kind.PROGRESS) as news:
                        preview = await self._look(job, news)
                        yield Progress(step=news.percent, steps=100, preview=preview)
                    case Update():
                        yield Queued(message="In Midjourney's queue")
                    case _:
                        continue
            began = job.began
        async with aclosing(self._deliver(grid, began, command, model)) as results:
            async for result in results:
                yield result

    async def aclose(self) -> None:
        """Disconnect the running loop's bot and close its connections."""
        await self._listeners.aclose()
        self._previews.close()
        await self._clients.aclose()

    async def _next(
        self, ears: GridSource, job: Job, account: Credentials | None, waits: Waits
    ) -> News:
        """Return the next news, or raise what ends the job without pictures."""
        if account is None:
            if (brought := await ears.next(job, waits.paste + waits.done)) is None:
                raise unbrought(waits)
            return brought
        wait = waits.done if job.seen else waits.paste
        news = await ears.next(job, min(wait, REMOVED_WAIT) if job.removed else wait)
        match news:
            case None:
                raise silent(job, waits)
            case Lost(error=error):
                raise lost(error, account) from error
            case Update(error=BackendError() as error):
                raise error
            case Update(kind=Kind.STOPPED):
                raise stopped()
            case _:
                return news

    async def _look(self, job: Job, sighting: Update) -> Preview | None:
        """Return a look at the unfinished grid, unless there is newer news already."""
        if sighting.post.picture is None or not job.news.empty():
            return None
        try:
            async with asyncio.timeout(MOST_LOOKING):
                data = await download(await self._clients.get(), sighting.post.picture)
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
        data = await self._fetch(grid)
        fetching = time.perf_counter() - started if sighting else None
        whole = await asyncio.to_thread(check, data, seed=sighting.seed if sighting else None)
        yield whole
        parts = await asyncio.to_thread(_parts, whole)
        for part in parts:
            yield part
        seconds = (sighting.post.at - began).total_seconds() if sighting and began else 0.0
        yield Receipt(
            honoured=honoured(command, sighting, parts),
            charged=grid_price(model, self.config),
            generate=seconds if seconds > 0 else None,
            download=fetching,
        )

    async def _fetch(self, grid: Update | UploadedGrid) -> bytes:
        if isinstance(grid, UploadedGrid):
            return grid.data
        return await download(await self._clients.get(), grid.post.picture or "")


def _parts(grid: Picture) -> list[Picture]:
    """Return the grid's pictures; none where it cannot be cut, since the grid itself is safe."""
    try:
        return [replace(part, seed=grid.seed) for part in split_grid(grid.data)]
    except ServiceFault:
        return []
