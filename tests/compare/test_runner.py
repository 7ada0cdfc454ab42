import asyncio
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backends.base import (
    Control,
    Event,
    Honour,
    Loading,
    Preview,
    Progress,
    Queued,
    Readiness,
    Receipt,
    Request,
    Sending,
)
from backends.errors import BadInput, Outcome, Refused, ServiceFault, TimedOut, Unanswered
from compare.catalogue import UnknownModel
from compare.endings import STOPPED_FREE, STOPPED_SENT
from compare.faults import StoreError
from compare.follow import UnknownRun
from compare.records import Job, Phase, Run
from tests.compare.conftest import FREE, Build
from tests.compare.scripted import World, picture

REQUEST = Request(prompt="a fox")
NO = "select raise(fail, 'no')"
Events = AsyncGenerator[Event, None]


async def good(request: Request) -> Events:
    yield Sending()
    yield picture(request.prompt)
    yield Receipt()


async def forever(request: Request) -> Events:
    yield Progress(step=1, steps=2)
    await asyncio.sleep(3600)


async def sent_forever(request: Request) -> Events:
    yield Sending()
    await asyncio.sleep(3600)


async def finish(world: World, run: Run) -> Run:
    async with asyncio.timeout(10):
        async for _ in world.runner.watch(run.id):
            pass
    ended = await world.runner.get(run.id)
    assert ended is not None
    return ended


async def until(world: World, run: Run, phase: Phase) -> Job:
    """Wait until the first job is in `phase`."""
    async with asyncio.timeout(10), aclosing(world.runner.watch(run.id)) as jobs:
        async for job in jobs:
            if job.phase is phase:
                return job
    raise AssertionError(f"never {phase}")


async def only(world: World, request: Request = REQUEST) -> Job:
    """Run the world's only model to its end, and hold the store to what the runner says."""
    (name,) = world.scripts
    run = await finish(world, await world.runner.start(request, [f"test/{name}"]))
    (job,) = run.jobs
    stored = await world.store.run(run.id)
    assert stored is not None and stored.jobs == (replace(job, preview=None),)
    return job


async def test_a_run_from_start_to_end(build: Build):
    world = await build(a=good, b=good)
    run = await world.runner.start(REQUEST, ["test/b", "test/a"])
    assert [job.model for job in run.jobs] == ["test/b", "test/a"]
    assert await world.store.run(run.id) is not None  # written before `start` returns
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.DONE] * 2
    for job in ended.jobs:
        assert job.phase is Phase.ENDED and job.sent_at and job.started_at
        assert job.cost.amount == Decimal("0.02")
        file = world.store.picture_path(job.pictures[0].sha256)
        assert file is not None and file.read_bytes() == picture("a fox").data


async def test_sent_is_on_disk_before_the_request_leaves(build: Build, home: Path):
    seen: list[Any] = []

    async def looks(request: Request) -> Events:
        yield Sending()
        with sqlite3.connect(home / "lineup.db") as other:
            seen.append(other.execute("select sent_at from jobs").fetchone()[0])
        other.close()
        yield picture()

    job = await only(await build(a=looks))
    assert job.sent_at is not None and seen == [job.sent_at.isoformat()]


async def test_a_picture_is_on_disk_before_anybody_hears_of_it(build: Build):
    world = await build(a=good)
    run = await world.runner.start(REQUEST, ["test/a"])
    heard = 0
    async for job in world.runner.watch(run.id):
        for saved in job.pictures:
            heard += 1
            assert world.store.picture_path(saved.sha256) is not None
        if job.outcome is not None:
            stored = await world.store.run(run.id)
            assert stored is not None and stored.jobs[0].outcome is job.outcome
    assert heard


async def test_times_are_split(build: Build):
    async def slow(request: Request) -> Events:
        yield Queued(message="third in line")
        await asyncio.sleep(0.10)
        yield Loading(message="weights")
        await asyncio.sleep(0.15)
        yield Progress(step=0, steps=2)
        await asyncio.sleep(0.10)
        yield Progress(step=1, steps=2, preview=Preview(b"look"))
        await asyncio.sleep(0.10)
        yield picture()
        await asyncio.sleep(0.10)
        yield Receipt(honoured={"seed": Honour(1, None, "seed ignored")})

    job = await only(await build(a=slow))
    time = job.timing
    # A busy machine makes every part longer, never shorter; test_stopwatch.py is exact.
    assert time.queued is not None and time.queued >= 0.10
    assert time.load is not None and time.load >= 0.15
    assert time.generate is not None and time.generate >= 0.20
    assert time.first_preview is not None and time.first_preview >= 0.35
    assert time.total is not None
    assert time.queued + time.load + time.generate <= time.total + 0.001
    assert time.download is None
    assert job.honoured["seed"].note == "seed ignored"
    assert (job.step, job.preview) == (None, None)


async def test_what_the_backend_measured_goes_before_our_own_view(build: Build):
    async def measured(request: Request) -> Events:
        yield picture()
        yield Receipt(load=5.0, generate=7.0, download=0.5)

    time = (await only(await build(a=measured))).timing
    assert (time.load, time.generate, time.download) == (5.0, 7.0, 0.5)


async def test_waiting_for_the_lane_is_queued(build: Build):
    async def brief(request: Request) -> Events:
        await asyncio.sleep(0.1)
        yield picture()

    world = await build(width=1, a=brief)
    run = await finish(world, await world.runner.start(REQUEST, ["test/a"] * 3))
    queued = [job.timing.queued or 0.0 for job in run.jobs]
    assert queued[0] < queued[1] < queued[2]
    assert queued[1] >= 0.1 and queued[2] >= 0.2


@pytest.mark.parametrize(
    ("error", "outcome", "amount"),
    [
        (BadInput("No."), Outcome.FAILED, Decimal(0)),
        (Refused("No."), Outcome.REFUSED, Decimal(0)),
        (Refused("No.", charged=True), Outcome.REFUSED, None),
        (TimedOut("No."), Outcome.TIMED_OUT, Decimal(0)),
        (ServiceFault("No."), Outcome.FAILED, None),
        (Unanswered("No."), Outcome.UNKNOWN, None),
    ],
)
async def test_errors_are_one_red_card(
    build: Build, error: Exception, outcome: Outcome, amount: Decimal | None
):
    async def fails(request: Request) -> Events:
        yield Sending()
        raise error

    world = await build(a=fails, b=good)
    run = await finish(world, await world.runner.start(REQUEST, ["test/a", "test/b"]))
    failed, fine = run.jobs
    assert (failed.outcome, failed.message) == (outcome, "No.")
    assert failed.cost.amount == amount
    assert failed.cost.low == (None if amount == 0 else Decimal("0.02"))
    assert fine.outcome is Outcome.DONE


async def test_a_fault_before_anything_was_sent_costs_nothing(build: Build):
    async def fails(request: Request) -> Events:
        yield Progress()
        raise ServiceFault("It answers nonsense.")

    assert (await only(await build(a=fails))).cost.amount == 0


async def test_a_bug_is_called_one_and_tells_no_key(
    build: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")

    async def buggy(request: Request) -> Events:
        yield Sending()
        raise ZeroDivisionError("with header sk-0123456789")

    with caplog.at_level(logging.ERROR):
        job = await only(await build(a=buggy))
    assert job.outcome is Outcome.FAILED and job.cost.amount is None
    assert "this is a bug" in job.message and "may have been billed" in job.message
    assert "ZeroDivision" not in job.message
    assert "ZeroDivisionError: with header [hidden]" in caplog.text
    assert "sk-0123456789" not in caplog.text


async def test_no_picture_is_a_failure(build: Build):
    async def nothing(request: Request) -> Events:
        yield Progress()

    job = await only(await build(a=nothing))
    assert job.outcome is Outcome.FAILED and "without a picture" in job.message


async def test_a_run_outlives_its_watchers(build: Build):
    go = asyncio.Event()

    async def waits(request: Request) -> Events:
        yield Sending()
        await go.wait()
        yield picture()

    world = await build(a=waits)
    run = await world.runner.start(REQUEST, ["test/a"])
    async with aclosing(world.runner.watch(run.id)) as jobs:
        await anext(jobs)
    go.set()
    assert (await finish(world, run)).jobs[0].outcome is Outcome.DONE
    # and whoever comes late, or comes again, sees how it ended
    late = [job.outcome async for job in world.runner.watch(run.id)]
    assert late == [Outcome.DONE]


async def test_a_caller_that_leaves_during_start_does_not_leave_half_a_run(build: Build):
    world = await build(a=good)
    starting = asyncio.create_task(world.runner.start(REQUEST, ["test/a"]))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    async with asyncio.timeout(5):
        while True:
            (run,) = await world.store.recent(1) or (None,)
            if run is not None and run.jobs[0].outcome is Outcome.DONE:
                break
            await asyncio.sleep(0.01)


async def test_stop_before_sending_is_free(build: Build):
    world = await build(width=1, a=forever, b=good)
    run = await world.runner.start(REQUEST, ["test/a", "test/b"])
    await until(world, run, Phase.GENERATING)
    await world.runner.stop(run.id)
    ended = await world.runner.get(run.id)
    assert ended is not None
    for job in ended.jobs:
        assert (job.outcome, job.message) == (Outcome.CANCELLED, STOPPED_FREE)
        assert job.cost.amount == 0 and job.sent_at is None
    assert world.backend.closed == ["a"]  # the other one never began


async def test_stop_after_sending_is_unknown(build: Build):
    world = await build(a=sent_forever)
    run = await world.runner.start(REQUEST, ["test/a"])
    await until(world, run, Phase.SENT)
    await world.runner.stop(run.id)
    ended = await world.store.run(run.id)
    assert ended is not None
    (job,) = ended.jobs
    assert (job.outcome, job.message) == (Outcome.UNKNOWN, STOPPED_SENT)
    assert job.cost.amount is None and job.cost.high == Decimal("0.02")
    assert world.backend.closed == ["a"]


async def test_stop_of_free_work_is_just_stopped(build: Build):
    world = await build(price=FREE, a=forever)
    run = await world.runner.start(REQUEST, ["test/a"])
    await until(world, run, Phase.GENERATING)
    await world.runner.stop(run.id)
    ended = await world.runner.get(run.id)
    assert ended is not None
    assert (ended.jobs[0].outcome, ended.jobs[0].message) == (Outcome.CANCELLED, "Stopped.")


async def test_stop_of_one_job_leaves_the_others(build: Build):
    go = asyncio.Event()

    async def waits(request: Request) -> Events:
        await go.wait()
        yield picture()

    world = await build(a=forever, b=waits)
    run = await world.runner.start(REQUEST, ["test/a", "test/b"])
    await world.runner.stop(run.id, run.jobs[0].id)
    go.set()
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.CANCELLED, Outcome.DONE]


async def test_stop_keeps_a_picture_that_is_being_written(build: Build):
    at_it = asyncio.Event()

    async def two(request: Request) -> Events:
        yield Sending()
        at_it.set()
        yield picture("big", size=5_000_000)
        await asyncio.sleep(3600)

    world = await build(a=two)
    run = await world.runner.start(REQUEST, ["test/a"])
    await at_it.wait()
    await asyncio.sleep(0)
    await world.runner.stop(run.id)
    ended = await world.store.run(run.id)
    assert ended is not None
    (job,) = ended.jobs
    assert job.outcome is Outcome.UNKNOWN and len(job.pictures) == 1
    file = world.store.picture_path(job.pictures[0].sha256)
    assert file is not None and file.stat().st_size == job.pictures[0].size


async def test_retry_is_a_new_job_in_the_same_run(build: Build):
    tries = 0

    async def second_time(request: Request) -> Events:
        nonlocal tries
        tries += 1
        yield Sending()
        if tries == 1:
            raise ServiceFault("Not now.")
        assert [control.image for control in request.controls] == [b"map"]
        yield picture()

    world = await build(a=second_time)
    request = replace(REQUEST, controls=(Control(image=b"map"),))
    run = await finish(world, await world.runner.start(request, ["test/a"]))
    job = await world.runner.retry(run.id, run.jobs[0].id)
    assert job.run_id == run.id and job.id != run.jobs[0].id
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.FAILED, Outcome.DONE]
    assert await world.store.run(run.id) == ended
    with pytest.raises(UnknownRun):
        await world.runner.retry(run.id, "nobody")


async def test_many_retries_at_once_are_as_many_jobs(build: Build):
    async def fails(request: Request) -> Events:
        yield Progress()
        raise ServiceFault("Not now.")

    world = await build(a=fails)
    run = await finish(world, await world.runner.start(REQUEST, ["test/a"]))
    again = await asyncio.gather(*(world.runner.retry(run.id, run.jobs[0].id) for _ in range(10)))
    assert len({job.id for job in again}) == 10
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.FAILED] * 11
    assert await world.store.run(run.id) == ended


async def test_a_retry_that_cannot_be_written_down_is_not_begun(build: Build, home: Path):
    world = await build(a=good)
    run = await finish(world, await world.runner.start(REQUEST, ["test/a"]))
    with sqlite3.connect(home / "lineup.db") as other:
        other.execute(f"create trigger no before insert on jobs begin {NO}; end")
    other.close()
    with pytest.raises(StoreError):
        await world.runner.retry(run.id, run.jobs[0].id)
    assert await finish(world, run) == run  # and nobody waits for it


async def test_retry_of_what_is_under_way_is_refused(build: Build):
    world = await build(a=forever)
    run = await world.runner.start(REQUEST, ["test/a"])
    with pytest.raises(ValueError, match="under way"):
        await world.runner.retry(run.id, run.jobs[0].id)


async def test_nothing_is_written_for_a_model_that_is_not_there(build: Build):
    world = await build(a=good)
    with pytest.raises(UnknownModel):
        await world.runner.start(REQUEST, ["test/a", "test/z"])
    with pytest.raises(ValueError):
        await world.runner.start(REQUEST, [])
    assert await world.store.recent() == ()
    with pytest.raises(UnknownRun):
        await anext(world.runner.watch("nothing"))


async def test_quick_news_is_thinned_but_the_last_look_arrives(build: Build):
    async def quick(request: Request) -> Events:
        for step in range(1, 501):
            yield Progress(step=step, steps=500, preview=Preview(str(step).encode()))
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        yield picture()

    world = await build(a=quick)
    run = await world.runner.start(REQUEST, ["test/a"])
    seen = [job async for job in world.runner.watch(run.id)]
    assert len(seen) < 20
    assert [job.step for job in seen if job.step][-1] == 500
    assert any(job.preview and job.preview.data == b"500" for job in seen)


async def test_a_full_disk_costs_one_card_and_no_picture(
    build: Build, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = await build(a=good, b=sent_forever)
    run = await world.runner.start(REQUEST, ["test/b"])
    rescued = tmp_path / "elsewhere"
    rescued.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rescued))
    shutil.rmtree(home / "incoming")
    (home / "incoming").write_bytes(b"no folder, so nothing can be written there")
    second = await finish(world, await world.runner.start(REQUEST, ["test/a"]))
    (job,) = second.jobs
    (file,) = rescued.iterdir()
    assert file.read_bytes() == picture("a fox").data
    assert job.outcome is Outcome.FAILED and str(file) in job.message
    assert "cannot write" in job.message
    assert job.cost.amount == Decimal("0.02")  # it was paid for
    live = await world.runner.get(run.id)
    assert live is not None and live.jobs[0].outcome is None


async def test_nothing_is_sent_when_it_cannot_be_written_down(build: Build, home: Path):
    left = False

    async def leaves(request: Request) -> Events:
        nonlocal left
        with sqlite3.connect(home / "lineup.db") as other:
            other.execute(f"create trigger no before update on jobs begin {NO}; end")
        other.close()
        yield Sending()
        left = True
        yield picture()

    world = await build(a=leaves)
    run = await finish(world, await world.runner.start(REQUEST, ["test/a"]))
    (job,) = run.jobs
    assert job.outcome is Outcome.FAILED and job.cost.amount == 0
    assert not left
    assert world.backend.closed == ["a"]


async def test_another_process_can_follow_the_run(build: Build, home: Path):
    go = asyncio.Event()

    async def waits(request: Request) -> Events:
        yield Sending()
        await go.wait()
        yield picture()

    world = await build(a=waits)
    run = await world.runner.start(REQUEST, ["test/a"])
    await until(world, run, Phase.SENT)
    other = World(home, {"a": waits}, world.runner.model("test/a").price)
    await other.open()
    seen: list[Phase] = []
    async with asyncio.timeout(10):
        async for job in other.runner.watch(run.id):
            seen.append(job.phase)
            go.set()
    assert seen == [Phase.SENT, Phase.ENDED]
    await other.close()


async def test_estimates_and_readiness(build: Build):
    world = await build(a=good)
    assert world.runner.estimates(REQUEST, ["test/a"])["test/a"].low == Decimal("0.02")
    assert world.runner.ready(world.runner.model("test/a")).state is Readiness.READY


async def test_closing_ends_everything(build: Build):
    world = await build(a=sent_forever)
    run = await world.runner.start(REQUEST, ["test/a"])
    await until(world, run, Phase.SENT)
    await world.runner.aclose()
    stored = await world.store.run(run.id)
    assert stored is not None and stored.jobs[0].outcome is Outcome.UNKNOWN


async def test_a_command_for_a_person_stands_until_the_next_thing_happens(build: Build):
    async def asks(request: Request) -> Events:
        yield Sending()
        yield Queued(message="Paste this", command=f"/imagine {request.prompt}")
        await pasted.wait()
        yield Progress(step=1, steps=2)
        yield picture("grid")
        yield Receipt()

    pasted = asyncio.Event()
    world = await build(asks=asks)
    run = await world.runner.start(REQUEST, ["test/asks"])
    commands: list[str] = []
    async for job in world.runner.watch(run.id):
        if job.command and not pasted.is_set():
            assert (job.command, job.phase) == ("/imagine a fox", Phase.QUEUED)
            pasted.set()
        if job.phase is Phase.GENERATING:
            commands.append(job.command)
    assert commands and not any(commands)
