"""Which of Midjourney's messages belong to which command."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from backends.base import Progress, Queued
from backends.errors import Unanswered
from tests.backends.midjourney.case import ASK, BLUE, GREEN, OTHERS, PATIENT, RED, Card, opened
from tests.servers import pictures
from tests.servers.midjourney import Midjourney


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
    shown = [event for event in card.events if isinstance(event, Progress)]
    assert {event.step for event in shown} == {31}
    assert [event.preview is None for event in shown] == [True, False], "its turn, then a look"
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
