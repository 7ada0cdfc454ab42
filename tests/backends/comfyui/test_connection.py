"""A connection to a ComfyUI server that is lost in mid-work, for a moment or for good.

The drops of 3 s and of 40 s that homes see, with a grace of 30 s, are here 0.3 s within a grace of
10 s and 1.7 s with one of 1.5 s.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from backends.base import Event, Picture, Progress, Queued, Receipt, Sending
from backends.comfyui import ComfyUI
from backends.errors import Unanswered
from tests.backends.comfyui.case import (
    ASK,
    CONTROL,
    MODEL,
    NOWHERE,
    backend,
    pictures_of,
    receipt_of,
    until,
)
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Kind, Script
from tests.servers.relay import Relay, Way

SHORT, USUAL = 1.5, 10.0
"""Seconds of grace: for a drop that is longer, and for one that is shorter whatever else runs."""
OLD = Kind(targeted=False, ids=False, lists=False)
WAYS = [Way.REFUSED, Way.RESET]


def reconnecting(relay: Relay, grace: float = USUAL) -> ComfyUI:
    """Return a backend that waits so many seconds for a lost connection."""
    settings = {"LINEUP_RECONNECT_SECONDS": str(grace), "LINEUP_CONNECT_SECONDS": "0.5"}
    return backend(relay.origin, NOWHERE, **settings)


async def drawn(
    relay: Relay,
    cut_at: type[Event],
    seconds: float | None,
    way: Way,
    grace: float = USUAL,
) -> list[Event]:
    """Draw, and lose the connection at the first event of a kind."""
    drawer, got, is_cut = reconnecting(relay, grace), list[Event](), False
    async for event in drawer.generate(MODEL, replace(ASK, count=2)):
        got.append(event)
        if isinstance(event, cut_at) and not is_cut:
            is_cut = True
            await asyncio.to_thread(relay.cut, way, seconds)
    await drawer.aclose()
    return got


@pytest.mark.parametrize(
    ("way", "drop", "kind"),
    [
        pytest.param(Way.REFUSED, 0.3, Kind(), id="refused for a moment"),
        pytest.param(Way.RESET, 0.3, OLD, id="reset for a moment"),
        pytest.param(Way.REFUSED, 1.7, OLD, id="refused for longer than the grace"),
        pytest.param(Way.RESET, 1.7, Kind(), id="reset for longer than the grace"),
    ],
)
async def test_a_drop_in_mid_work_loses_no_picture(way: Way, drop: float, kind: Kind) -> None:
    with ComfyUIServer(Script(delay=0.4), kind) as server, Relay(server.origin) as relay:
        grace = USUAL if drop < SHORT else SHORT
        got = await drawn(relay, Progress, drop, way, grace)
        assert server.asked("/interrupt") == []
        assert len(server.asked("/prompt")) == 2, "no prompt is posted twice"
    assert [picture.seed for picture in pictures_of(got)] == [7, 8]
    assert receipt_of(got).honoured["count"].note == ""
    told = [event.message for event in got if isinstance(event, Progress | Queued)]
    assert drop < SHORT or "no connection to the server: waiting for it" in told


async def test_a_drop_between_two_pictures_loses_neither() -> None:
    with ComfyUIServer() as server, Relay(server.origin) as relay:
        got = await drawn(relay, Picture, 0.3, Way.REFUSED)
        assert len(server.asked("/prompt")) == 2
    assert [picture.seed for picture in pictures_of(got)] == [7, 8]


@pytest.mark.parametrize("way", WAYS)
async def test_a_finished_picture_is_fetched_when_the_connection_is_back(way: Way) -> None:
    with ComfyUIServer() as server, Relay(server.origin) as relay:
        server.views = [Script(hang=True)]
        drawer = reconnecting(relay)
        reading = asyncio.create_task(_all(drawer.generate(MODEL, ASK)))
        assert await asyncio.to_thread(until, lambda: bool(server.asked("/view")))
        await asyncio.to_thread(relay.cut, way, 0.3)
        assert len(pictures_of(await reading)) == 1
        await drawer.aclose()
        assert len(server.asked("/prompt")) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_control_picture_is_uploaded_when_the_connection_is_back(way: Way) -> None:
    with ComfyUIServer() as server, Relay(server.origin) as relay:
        drawer, got = reconnecting(relay), list[Event]()
        async for event in drawer.generate(MODEL, replace(ASK, controls=(CONTROL,))):
            got.append(event)
            if isinstance(event, Sending):  # what comes next is the upload
                await asyncio.to_thread(relay.cut, way, 0.3)
        await drawer.aclose()
        assert len(server.uploads) == 1
    assert len(pictures_of(got)) == 1


async def test_a_talkative_websocket_is_a_sign_of_life() -> None:
    """The grace counts from the last message, not from the last poll."""
    with ComfyUIServer(Script(delay=2.2)) as server, Relay(server.origin) as relay:
        drawer, got, is_cut = reconnecting(relay, SHORT), list[Event](), False
        async for event in drawer.generate(MODEL, ASK):
            got.append(event)
            if isinstance(event, Progress) and event.step == 18 and not is_cut:
                is_cut = True  # later than the grace after the only poll
                await asyncio.to_thread(relay.cut, Way.REFUSED, 0.4)
        await drawer.aclose()
    assert is_cut and len(pictures_of(got)) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_stays_away_is_given_up_and_nothing_is_interrupted(way: Way) -> None:
    words = "Nothing answers at 127.0.0.1" if way is Way.REFUSED else "cannot be reached any more"
    with ComfyUIServer(Script(delay=30)) as server, Relay(server.origin) as relay:
        started = time.monotonic()
        with pytest.raises(Unanswered, match="It may be drawing still") as caught:
            await drawn(relay, Progress, None, way, grace=0.5)
        assert time.monotonic() - started < 10
        assert words in str(caught.value).replace("\n", " ")
        assert server.asked("/interrupt") == []
        assert not server.jobs[0].interrupted


async def test_packets_that_vanish_are_waited_for() -> None:
    with ComfyUIServer(Script(delay=0.3)) as server, Relay(server.origin) as relay:
        got = await drawn(relay, Sending, 0.5, Way.SILENT)
    assert len(pictures_of(got)) == 2 and isinstance(got[-1], Receipt)


async def _all(events: AsyncGenerator[Event, None]) -> list[Event]:
    return [event async for event in events]
