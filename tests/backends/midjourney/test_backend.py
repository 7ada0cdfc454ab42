"""The Midjourney backend: which messages it takes for which command, and what it says instead."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from backends.base import (
    Config,
    Event,
    Picture,
    Progress,
    Queued,
    Readiness,
    Receipt,
    Request,
    Sending,
)
from backends.errors import (
    BackendError,
    Forbidden,
    MissingKey,
    ServiceFault,
    TimedOut,
    Unanswered,
    WrongKey,
)
from backends.midjourney import Midjourney as MidjourneyBackend
from backends.midjourney.credentials import Credentials
from backends.midjourney.errors import connection_lost
from tests.backends.midjourney.case import MODEL, TOKEN, settings
from tests.servers import pictures
from tests.servers.discord import Answer
from tests.servers.midjourney import Drawing, Midjourney

ASK = Request(prompt="a lighthouse", width=32, height=32, seed=7)
RED, GREEN, BLUE = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"
OTHERS = pictures.plain(64, 64, b"\x11\x22\x33")
Kind = TypeVar("Kind", bound=Event)
PATIENT = {"MIDJOURNEY_PASTE_SECONDS": "30", "MIDJOURNEY_DONE_SECONDS": "30"}


@pytest.fixture(name="server")
def midjourney_server() -> Iterator[Midjourney]:
    with Midjourney(TOKEN) as running:
        yield running


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
    """One job under way, and the events that it has told so far."""

    def __init__(self, drawer: MidjourneyBackend, request: Request = ASK) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow(drawer, request))

    async def _follow(self, drawer: MidjourneyBackend, request: Request) -> None:
        try:
            async for event in drawer.generate(MODEL, request):
                self.events.append(event)
                self._news.set()
        finally:
            self._news.set()

    async def until(self, kind: type[Kind], wanted: Callable[[Kind], object] = bool) -> Kind:
        """Wait for the first such event; fails where the job ends without it."""
        async with asyncio.timeout(10):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and wanted(event):
                        return event
                assert not self._task.done(), f"it ended: {self._task}, {self.events}"
                await self._news.wait()
                self._news.clear()

    async def pasted(self, server: Midjourney, *, old: bool = False) -> Drawing:
        """Carry the command to Midjourney, which has posted nothing yet."""
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


@pytest.mark.parametrize("resumable", [True, False], ids=["resumed", "anew"])
async def test_three_jobs_interleaved_through_a_reconnect(
    server: Midjourney, resumable: bool
) -> None:
    server.resumable = resumable
    grids = [pictures.plain(64, 64, colour) for colour in (RED, GREEN, BLUE)]
    async with opened(server, **PATIENT) as drawer:
        cards = [Card(drawer, replace(ASK, seed=seed)) for seed in (1, 2, 3)]
        drawings = [await card.pasted(server) for card in cards]
        assert (server.identified, server.listening) == (1, 1), "one bot for all jobs"
        for drawing in reversed(drawings):
            drawing.queued()
        drawings[1].progress(31)
        await cards[1].until(Progress)
        drawings[0].finish(grids[0])
        await asyncio.to_thread(server.hang_up)
        drawings[2].progress(62)
        drawings[1].finish(grids[1])
        assert (await cards[1].pictures())[0] == grids[1]
        drawings[2].finish(grids[2])
        assert (await cards[2].pictures())[0] == grids[2]
        assert (await cards[0].pictures())[0] == grids[0]
    assert (server.identified, server.resumed) == ((1, 1) if resumable else (2, 0))
    assert len(server.pasted) == 3 and {each.method for each in server.requests} == {"GET"}


@pytest.mark.parametrize("edited", [False, True], ids=["new message", "last edit"])
@pytest.mark.parametrize("old", [True, False], ids=["old", "2026"])
async def test_both_forms_of_messages(server: Midjourney, old: bool, edited: bool) -> None:
    async with opened(server, **PATIENT) as drawer:
        card = Card(drawer)
        drawing = await card.pasted(server, old=old)
        drawing.queued()
        await card.until(Queued, lambda event: "Midjourney's queue" in event.message)
        drawing.progress(31)
        await card.until(Progress)
        drawing.finish(OTHERS, edited=edited)
        assert (await card.pictures())[0] == OTHERS
    assert [event.step for event in card.events if isinstance(event, Progress)] == [31]
    receipt = card.receipt
    assert receipt.honoured["seed"].used == 7 and receipt.honoured["speed"].used == "fast"
    assert "prompt" not in receipt.honoured, "parameters that are repeated are no change"
    assert receipt.generate is not None and receipt.charged == Decimal("0.05")


async def test_the_progress_message_is_deleted(server: Midjourney) -> None:
    async with opened(server, MIDJOURNEY_DONE_SECONDS="1") as drawer:
        cards = [Card(drawer, replace(ASK, seed=seed)) for seed in (1, 2)]
        drawings = [await card.pasted(server) for card in cards]
        for drawing in drawings:
            drawing.progress(93)
            drawing.remove()
        drawings[0].finish(OTHERS)
        assert (await cards[0].pictures())[0] == OTHERS
        error = await cards[1].error()
    assert isinstance(error, Unanswered)
    assert str(error).startswith("Midjourney took its message away and posted no pictures.")


@pytest.mark.parametrize("before", [True, False], ids=["an earlier grid", "one drawn meanwhile"])
async def test_what_is_made_from_another_grid_is_not_taken(
    server: Midjourney, before: bool
) -> None:
    own = pictures.plain(64, 64, RED)
    async with opened(server, **PATIENT) as drawer:
        if before:
            other = server.imagine("/imagine prompt: a lighthouse --seed 7 --v 8.1")
            other.finish(OTHERS)
            card = Card(drawer)
            drawing = await card.pasted(server)
        else:
            first, card = Card(drawer), Card(drawer, replace(ASK, prompt="a pier"))
            other, drawing = await first.pasted(server), await card.pasted(server)
            other.finish(OTHERS)
            assert (await first.pictures())[0] == OTHERS
        for derive in (other.vary, other.upscale, other.reroll):
            derive(OTHERS)
        drawing.finish(own)
        assert (await card.pictures())[0] == own
    assert not any(isinstance(event, Progress) for event in card.events)


async def test_a_silence_is_told_by_what_came_before_it(server: Midjourney) -> None:
    async with opened(server, MIDJOURNEY_PASTE_SECONDS="0.5", MIDJOURNEY_DONE_SECONDS="0.5") as it:
        error = await Card(it).error()
        assert isinstance(error, TimedOut) and error.charged is False
        assert str(error).startswith("Nobody pasted the command within 0.5 s, as far as the bot")
        assert "declined it in a reply that only you can read: look in Discord." in str(error)
        card = Card(it)
        (await card.pasted(server)).queued()
        error = await card.error()
    assert isinstance(error, Unanswered) and error.charged is None
    assert str(error).startswith("Midjourney took the command and has been silent for 0.5 s. ")
    assert "replies are private: look in Discord before you paste it again." in str(error)


async def test_a_wrong_token_or_a_missing_intent_shows_no_command(server: Midjourney) -> None:
    async with opened(server, DISCORD_BOT_TOKEN="MTE.another") as drawer:
        card = Card(drawer)
        error = await card.error()
        assert isinstance(error, WrongKey) and "DISCORD_BOT_TOKEN" in str(error)
        assert Sending() not in card.events and not server.spoken
    server.close_code = 4014
    async with opened(server) as drawer:
        card = Card(drawer)
        error = await card.error()
        assert isinstance(error, Forbidden) and "Message Content Intent" in str(error)
        assert Sending() not in card.events


async def test_a_grid_comes_whole_and_in_four(server: Midjourney) -> None:
    colours = [RED, GREEN, BLUE, b"\xff\xff\xff"]
    rows = [b"\0" + left * 32 + right * 33 for left, right in (colours[:2], colours[2:])]
    whole = pictures.png(65, 33, rows[0] * 16 + rows[1] * 17)
    async with opened(server) as drawer:
        card = Card(drawer)
        (await card.pasted(server)).finish(whole)
        _, *parts = [Image.open(io.BytesIO(data)) for data in await card.pictures()]
    assert (await card.pictures())[0] == whole, "byte for byte as it came"
    assert [part.size for part in parts] == [(32, 16), (33, 16), (32, 17), (33, 17)]
    assert [part.getcolors() for part in parts] == [
        [(part.width * part.height, tuple(colour))]
        for part, colour in zip(parts, colours, strict=True)
    ]
    assert {event.seed for event in card.events if isinstance(event, Picture)} == {7}
    assert card.receipt.honoured["count"].used == 4


@pytest.mark.parametrize("bot", [True, False], ids=["a bot listens", "no bot"])
async def test_a_person_may_bring_the_grid(server: Midjourney, bot: bool) -> None:
    values = settings(server.origin, **PATIENT) if bot else {}
    async with made(values, attended=True) as drawer:
        assert drawer.ready(MODEL).state is Readiness.READY
        card = Card(drawer)
        shown = await card.until(Queued, lambda event: event.command)
        assert "/imagine prompt: a lighthouse" in shown.command and shown.take is not None
        shown.take(OTHERS)
        whole, *parts = await card.pictures()
    assert whole == OTHERS and len(parts) == 4
    assert card.receipt.honoured["seed"].note == "seed unknown: the grid was brought by hand"
    assert card.receipt.charged == Decimal("0.05")
    assert card.events.index(Sending()) < card.events.index(shown)


async def test_without_a_bot_or_a_person_nothing_is_asked() -> None:
    async with made({}) as drawer:
        assert drawer.ready(MODEL).state is Readiness.NEEDS_KEY
        card = Card(drawer)
        error = await card.error()
    assert isinstance(error, MissingKey) and not card.events


async def test_a_grid_that_nobody_brings_may_have_been_drawn() -> None:
    waits = {"MIDJOURNEY_PASTE_SECONDS": "0.2", "MIDJOURNEY_DONE_SECONDS": "0.1"}
    async with made(waits, attended=True) as drawer:
        error = await Card(drawer).error()
    assert isinstance(error, Unanswered) and "press Try again and drop that grid" in str(error)


@pytest.mark.parametrize("answer", [Answer(status=503), Answer(hang=True)], ids=["503", "hangs"])
async def test_what_is_lost_may_have_been_pasted(server: Midjourney, answer: Answer) -> None:
    server.answers["/users/@me"] = answer
    async with opened(server, LINEUP_ANSWER_SECONDS="0.5") as drawer:
        error = await Card(drawer).error()
    assert type(error) is (TimedOut if answer.hang else ServiceFault) and error.__cause__
    later = connection_lost(error.__cause__, Credentials.from_config(drawer.config))
    assert later.charged is None and str(error) in str(later)
    assert "Nothing was sent" not in str(later) and "before you paste it again" in str(later)
