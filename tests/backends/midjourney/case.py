"""Shared by the tests of the Midjourney backend: a model, a running bot, jobs and their events."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest

from backends.base import (
    Basis,
    Config,
    Event,
    Model,
    Picture,
    Price,
    Queued,
    Receipt,
    Request,
    Sizes,
)
from backends.errors import BackendError
from backends.midjourney import Midjourney as MidjourneyBackend
from tests.servers import pictures
from tests.servers.midjourney import Drawing, Midjourney

TOKEN = "MTE.verysecret.indeed-not-a-real-token"
MODEL = Model(
    id="midjourney/v8.1",
    label="Midjourney V8.1",
    family="closed",
    source="--v 8.1",
    supports=frozenset({"seed"}),
    sizes=Sizes(native=((1024, 1024),), multiple=1, least=1, most=4096),
    most_count=1,
    price=Price(basis=Basis.SUBSCRIPTION, per_image=Decimal("0.05")),
)


def settings(origin: str, **more: str) -> dict[str, str]:
    """Return the settings of a bot at the server, with short time limits."""
    return {
        "DISCORD_BOT_TOKEN": TOKEN,
        "DISCORD_API_BASE": f"{origin}/api/v10",
        "MIDJOURNEY_CHANNEL": "33",
        "MIDJOURNEY_PASTE_SECONDS": "5",
        "MIDJOURNEY_DONE_SECONDS": "2",
        **more,
    }


ASK = Request(prompt="a lighthouse", width=32, height=32, seed=7)
RED, GREEN, BLUE = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"
OTHERS = pictures.plain(64, 64, b"\x11\x22\x33")
Kind = TypeVar("Kind", bound=Event)
PATIENT = {"MIDJOURNEY_PASTE_SECONDS": "30", "MIDJOURNEY_DONE_SECONDS": "30"}


@asynccontextmanager
async def opened(server: Midjourney, **more: str) -> AsyncGenerator[MidjourneyBackend]:
    async with made(settings(server.origin, **more)) as drawer:
        yield drawer


@asynccontextmanager
async def made(
    values: dict[str, str], *, attended: bool = False
) -> AsyncGenerator[MidjourneyBackend]:
    config = Config(value=values.get, home=Path("unused"), attended=attended)
    drawer = MidjourneyBackend(config)
    try:
        yield drawer
    finally:
        await drawer.aclose()


class Card:
    """A running job, and the events that it has yielded so far."""

    def __init__(self, drawer: MidjourneyBackend, request: Request = ASK) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow(drawer, request))

    async def _follow(self, drawer: MidjourneyBackend, request: Request) -> None:
        try:
            async for event in drawer.generate(MODEL, request):
                self.events.append(event)
                self._changed.set()
        finally:
            self._changed.set()

    async def until(self, kind: type[Kind], wanted: Callable[[Kind], object] = bool) -> Kind:
        """Wait for the first such event; fail if the job ends without it."""
        async with asyncio.timeout(10):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and wanted(event):
                        return event
                assert not self._task.done(), f"it ended: {self._task}, {self.events}"
                await self._changed.wait()
                self._changed.clear()

    async def pasted(self, server: Midjourney, *, old: bool = False) -> Drawing:
        """Pass the command to Midjourney, which has posted nothing yet."""
        shown = await self.until(Queued, lambda event: event.command)
        return server.imagine(shown.command, old=old)

    async def pictures(self) -> list[bytes]:
        await self._task
        return [event.data for event in self.events if isinstance(event, Picture)]

    async def error(self) -> BackendError:
        with pytest.raises(BackendError) as caught:
            await self._task
        return caught.value

    @property
    def receipt(self) -> Receipt:
        return next(event for event in self.events if isinstance(event, Receipt))
