"""What every backend promises, run over every one beside its small server."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Event, Picture, Receipt, Sending
from tests.backends.harness import Harness, all_harnesses
from tests.servers.pictures import plain


@pytest.fixture(params=[pytest.param(here, id=name) for name, here in all_harnesses().items()])
def kind(request: pytest.FixtureRequest) -> type[Harness]:
    return request.param


async def test_pictures_and_a_receipt_come(kind: type[Harness], home: Path):
    with kind() as harness:
        events = await harness.draw(harness.create(home))
        assert harness.billable >= 1
    pictures = [event for event in events if isinstance(event, Picture)]
    assert len(pictures) >= harness.request.count
    assert all(picture.width > 0 and picture.height > 0 for picture in pictures)
    for picture in pictures:
        assert picture.seed is None or isinstance(picture.seed, int)
    receipts = [event for event in events if isinstance(event, Receipt)]
    assert events[-1:] == receipts
    assert {"size"} <= receipts[0].honoured.keys()


async def test_a_start_picture_is_taken_or_said_to_be_ignored(kind: type[Harness], home: Path):
    with kind() as harness:
        backend = harness.create(home)
        asked = replace(harness.request, image=plain(48, 32), strength=0.5)
        events = [event async for event in backend.generate(harness.model, asked)]
        await backend.aclose()
    (receipt,) = [event for event in events if isinstance(event, Receipt)]
    honour = receipt.honoured["image"]
    assert (honour.used is not None) is ("image" in harness.model.supports)
    assert honour.note.startswith("" if honour.used else "start picture ignored")


async def test_notation_of_other_programs_is_understood_or_named(kind: type[Harness], home: Path):
    weights, tag = "(red:1.3)", "<lora:style:0.8>"
    understands = kind.backend in ("a1111", "comfyui")
    prompt = f"a lighthouse in {weights} fog" + f" {tag}" * (not understands)
    with kind() as harness:
        events = await harness.draw(harness.create(home), replace(harness.request, prompt=prompt))
    [receipt] = [event for event in events if isinstance(event, Receipt)]
    if understands:
        assert "prompt_syntax" not in receipt.honoured
    else:
        note = receipt.honoured["prompt_syntax"].note
        assert weights in note and tag in note and "plain words" in note


async def test_nothing_leaves_before_it_is_said(kind: type[Harness], home: Path):
    with kind() as harness:
        backend = harness.create(home)
        async with aclosing(backend.generate(harness.model, harness.request)) as events:
            async for event in events:
                if isinstance(event, Sending):
                    break
                assert not isinstance(event, Picture)
            await asyncio.sleep(0.2)
            assert harness.billable == 0
        await backend.aclose()


async def test_closing_stops_the_job(kind: type[Harness], home: Path):
    with kind() as harness:
        harness.slow(30)
        backend = harness.create(home)
        events = backend.generate(harness.model, harness.request)
        reading = asyncio.create_task(_drain(events))
        assert await asyncio.to_thread(harness.asked)
        await asyncio.sleep(0.1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await asyncio.to_thread(harness.stopped)
        await backend.aclose()


async def test_the_key_is_never_seen(
    kind: type[Harness], home: Path, caplog: pytest.LogCaptureFixture
):
    with kind() as harness, caplog.at_level(logging.DEBUG):
        backend = harness.create(home)
        events = await harness.draw(backend)
    if not harness.secret:
        pytest.skip("This system has no key.")
    assert harness.secret in harness.settings(harness.origin).values()
    for text in (repr(backend), repr(backend.config), repr(events), caplog.text):
        assert harness.secret not in text


async def _drain(events: AsyncGenerator[Event, None]) -> None:
    async with aclosing(events) as open_events:
        async for _ in open_events:
            pass
