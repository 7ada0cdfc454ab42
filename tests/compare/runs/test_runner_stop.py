"""Stop and Try again: what is kept, what it costs, and what is refused."""

import asyncio
import sqlite3
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import (
    Control,
    Progress,
    Queued,
    Request,
    Sending,
)
from backends.errors import Outcome, ServiceFault
from compare.records import Phase
from compare.runs.broadcast import UnknownRun
from compare.runs.outcome import STOPPED_FREE, STOPPED_SENT
from compare.store.errors import StoreError
from tests.compare.conftest import FREE, Build
from tests.compare.helpers import (
    NO,
    SPEC,
    Events,
    changed,
    finish,
    forever,
    good,
    sent_forever,
    until,
)
from tests.compare.scripted import picture


async def test_stop_before_sending_is_free(build: Build):
    world = await build(width=1, a=forever, b=good)
    run = await world.runner.start(SPEC, ["test/a", "test/b"])
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
    run = await world.runner.start(SPEC, ["test/a"])
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
    run = await world.runner.start(SPEC, ["test/a"])
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
    run = await world.runner.start(SPEC, ["test/a", "test/b"])
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
    run = await world.runner.start(SPEC, ["test/a"])
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
    spec = changed(SPEC, controls=(Control(image=b"map"),))
    run = await finish(world, await world.runner.start(spec, ["test/a"]))
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
    run = await finish(world, await world.runner.start(SPEC, ["test/a"]))
    again = await asyncio.gather(*(world.runner.retry(run.id, run.jobs[0].id) for _ in range(10)))
    assert len({job.id for job in again}) == 10
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.FAILED] * 11
    assert await world.store.run(run.id) == ended


async def test_a_retry_that_cannot_be_written_down_is_not_begun(build: Build, home: Path):
    world = await build(a=good)
    run = await finish(world, await world.runner.start(SPEC, ["test/a"]))
    with sqlite3.connect(home / "lineup.db") as other:
        other.execute(f"create trigger no before insert on jobs begin {NO}; end")
    other.close()
    with pytest.raises(StoreError):
        await world.runner.retry(run.id, run.jobs[0].id)
    assert await finish(world, run) == run  # and nobody waits for it


async def test_retry_of_what_is_under_way_is_refused(build: Build):
    world = await build(a=forever)
    run = await world.runner.start(SPEC, ["test/a"])
    with pytest.raises(ValueError, match="under way"):
        await world.runner.retry(run.id, run.jobs[0].id)


async def test_stop_of_what_a_person_was_to_paste_says_who_bills_it(build: Build):
    async def by_hand(request: Request) -> Events:
        yield Sending()
        yield Queued(message="Paste this", command="/imagine a fox")
        await asyncio.sleep(3600)

    world = await build(a=by_hand)
    run = await world.runner.start(SPEC, ["test/a"])
    async with aclosing(world.runner.watch(run.id)) as jobs:
        async for seen in jobs:
            if seen.command:
                break
    await world.runner.stop(run.id)
    ended = await world.store.run(run.id)
    assert ended is not None
    (job,) = ended.jobs
    assert job.outcome is Outcome.CANCELLED
    assert job.message.startswith("Stopped. If you pasted it, ")
    assert job.cost.amount is None and job.cost.high == Decimal("0.02")
