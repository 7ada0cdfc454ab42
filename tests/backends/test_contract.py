"""What every backend promises, run over every one beside its small server."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Event, Picture, Receipt, Sending
from tests.backends.harness import Stand, all_stands
from tests.servers.pictures import plain


@pytest.fixture(params=[pytest.param(here, id=name) for name, here in all_stands().items()])
def kind(request: pytest.FixtureRequest) -> type[Stand]:
    return request.param


async def test_pictures_and_a_receipt_come(kind: type[Stand], home: Path):
    with kind() as stand:
        events = await stand.draw(stand.create(home))
        assert stand.billable >= 1
    pictures = [event for event in events if isinstance(event, Picture)]
    assert len(pictures) >= stand.request.count
    assert all(picture.width > 0 and picture.height > 0 for picture in pictures)
    for picture in pictures:
        assert picture.seed is None or isinstance(picture.seed, int)
    receipts = [event for event in events if isinstance(event, Receipt)]
    assert events[-1:] == receipts
    assert {"size"} <= receipts[0].honoured.keys()


async def test_a_start_picture_is_taken_or_said_to_be_ignored(kind: type[Stand], home: Path):
    with kind() as stand:
        backend = stand.create(home)
        asked = replace(stand.request, image=plain(48, 32), strength=0.5)
        events = [event async for event in backend.generate(stand.model, asked)]
        await backend.aclose()
    (receipt,) = [event for event in events if isinstance(event, Receipt)]
    honour = receipt.honoured["image"]
    assert (honour.used is not None) is ("image" in stand.model.supports)
    assert honour.note.startswith("" if honour.used else "start picture ignored")


async def test_nothing_leaves_before_it_is_said(kind: type[Stand], home: Path):
    with kind() as stand:
        backend = stand.create(home)
        async with aclosing(backend.generate(stand.model, stand.request)) as events:
            async for event in events:
                if isinstance(event, Sending):
                    break
                assert not isinstance(event, Picture)
            await asyncio.sleep(0.2)
            assert stand.billable == 0
        await backend.aclose()


async def test_closing_stops_the_job(kind: type[Stand], home: Path):
    with kind() as stand:
        stand.slow(30)
        backend = stand.create(home)
        events = backend.generate(stand.model, stand.request)
        reading = asyncio.create_task(_drain(events))
        assert await asyncio.to_thread(stand.asked)
        await asyncio.sleep(0.1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await asyncio.to_thread(stand.stopped)
        await backend.aclose()


async def test_the_key_is_never_seen(
    kind: type[Stand], home: Path, caplog: pytest.LogCaptureFixture
):
    with kind() as stand, caplog.at_level(logging.DEBUG):
        backend = stand.create(home)
        events = await stand.draw(backend)
    if not stand.secret:
        pytest.skip("This system has no key.")
    assert stand.secret in stand.settings(stand.origin).values()
    for text in (repr(backend), repr(backend.config), repr(events), caplog.text):
        assert stand.secret not in text


async def _drain(events: AsyncGenerator[Event, None]) -> None:
    async with aclosing(events) as open_events:
        async for _ in open_events:
            pass
