"""The Midjourney backend: commands, progress, grids and their parts, grids brought by a person."""

import io
from decimal import Decimal

import pytest
from PIL import Image

from backends.base import Picture, Queued, Readiness, Sending
from backends.errors import MissingKey
from tests.backends.midjourney.case import (
    BLUE,
    GREEN,
    MODEL,
    OTHERS,
    PATIENT,
    RED,
    Card,
    made,
    opened,
    settings,
)
from tests.servers import pictures
from tests.servers.midjourney import Midjourney


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
