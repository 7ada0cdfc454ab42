"""Jobs of the A1111 backend in time: progress, previews, a server's queue, stopping."""

import asyncio

import pytest

from backends.a1111 import progress
from backends.base import Progress, Queued
from backends.errors import Unanswered
from backends.images.validation import dimensions
from tests.backends.a1111.case import (
    ASK,
    MODEL,
    backend,
    cancel_when,
    events,
    of,
    pictures_of,
    receipt_of,
)
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import Kind, Script

KINDS = [
    pytest.param(Kind(), id="AUTOMATIC1111"),
    pytest.param(Kind(tasks=False), id="SD.Next"),
    pytest.param(Kind(tasks=False, route=False), id="old"),
]
NAMELESS = KINDS[1:]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the server often, so that short jobs are seen under way."""
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.1)


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_and_previews_come_while_it_is_drawn(kind: Kind) -> None:
    with A1111Server(Script(delay=1), kind) as server:
        got = await events(server)
    steps = [event.step for event in of(Progress, got)]
    assert steps == sorted(steps) and len(steps) >= 2
    assert 0 < steps[-1] <= 20
    assert {event.steps for event in of(Progress, got)} == {20}
    looks = [event.preview for event in of(Progress, got) if event.preview]
    assert looks
    assert all(dimensions(look.data)[2] == look.media_type == "image/jpeg" for look in looks)
    assert len(pictures_of(got)) == 1
    asked = [received for received in server.requests if received.path == "/internal/progress"]
    assert (len(asked) == 1) is not kind.route


async def test_a_wait_behind_another_job_is_shown_and_not_counted() -> None:
    with A1111Server(Script(delay=0.2, time="600")) as server:
        await asyncio.to_thread(server.in_loop, "another", 2)
        got = await events(server)
    assert isinstance(of(Queued, got)[0], Queued)
    generate = receipt_of(got).generate
    assert generate is not None and 0 < generate < 600


@pytest.mark.parametrize("kind", NAMELESS)
async def test_anothers_progress_is_not_shown_as_ours(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "another", 2)
        got = await events(server)
    assert of(Progress, got) == []
    assert len(pictures_of(got)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_interrupts_the_running_job(kind: Kind) -> None:
    with A1111Server(Script(delay=60), kind) as server:
        await cancel_when(backend(server.origin), lambda: bool(server.jobs))
        assert server.interrupts == 1
        assert server.jobs[-1].interrupted


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_leaves_anothers_job_alone(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "another", 60)
        await cancel_when(backend(server.origin), lambda: len(server.jobs) == 2)
        assert server.interrupts == 0
        assert not server.jobs[0].interrupted


@pytest.mark.parametrize("kind", NAMELESS)
async def test_of_two_jobs_before_ours_none_is_taken_for_it(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "first", 0.6)
        await asyncio.to_thread(server.in_loop, "second", 10)
        await cancel_when(
            backend(server.origin), lambda: len(server.jobs) == 3 and server.jobs[1].step > 0
        )
        assert [job.done for job in server.jobs] == [True, False, False]
        assert server.interrupts == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_while_the_answer_comes_leaves_the_next_job_alone(kind: Kind) -> None:
    with A1111Server(Script(delay=0.5, drip=1), kind) as server:

        def answering() -> bool:
            if server.jobs and server.jobs[0].done and len(server.jobs) == 1:
                server.in_loop("next", 60)
            return len(server.jobs) == 2

        await cancel_when(backend(server.origin), answering)
        assert server.interrupts == 0
        assert not server.jobs[1].interrupted


async def test_cancelling_before_sending_sends_nothing() -> None:
    with A1111Server() as server:
        drawer = backend(server.origin)
        job = drawer.generate(MODEL, ASK)
        await anext(job)
        await job.aclose()
        await drawer.aclose()
        assert server.generations == []
        assert server.interrupts == 0


async def test_a_job_that_is_no_longer_waited_for_is_stopped() -> None:
    with A1111Server(Script(delay=60)) as server:
        with pytest.raises(Unanswered) as caught:
            await events(server, LINEUP_ANSWER_SECONDS="1")
        assert server.jobs[-1].interrupted
    assert "billed" not in str(caught.value)


async def test_nothing_is_interrupted_after_the_picture_came() -> None:
    with A1111Server() as server:
        await events(server)
        assert server.interrupts == 0
