"""A run from its start to its end, and who may watch it."""

import asyncio
import sqlite3
import time
from contextlib import aclosing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from backends.base import (
    Applied,
    Loading,
    Preview,
    Progress,
    Queued,
    Readiness,
    Receipt,
    Request,
    Sending,
)
from backends.errors import Outcome
from compare.records import Phase
from tests.compare.conftest import Build
from tests.compare.helpers import SPEC, Events, finish, good, only, sent_forever, until
from tests.compare.scripted import World, picture


async def test_a_run_from_start_to_end(build: Build):
    world = await build(a=good, b=good)
    run = await world.runner.start(SPEC, ["test/b", "test/a"])
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
    assert job.sent_at is not None and seen == [f"{job.sent_at:%Y-%m-%d %H:%M:%S.%f}"]


async def test_a_picture_is_on_disk_before_anybody_hears_of_it(build: Build):
    world = await build(a=good)
    run = await world.runner.start(SPEC, ["test/a"])
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
        yield Receipt(honoured={"seed": Applied(1, None, "seed ignored")})

    job = await only(await build(a=slow))
    timing = job.timing
    # A busy machine makes every part longer, never shorter; test_stopwatch.py is exact.
    assert timing.queued is not None and timing.queued >= 0.10
    assert timing.load is not None and timing.load >= 0.15
    assert timing.generate is not None and timing.generate >= 0.20
    assert timing.first_preview is not None and timing.first_preview >= 0.10
    assert timing.total is not None
    assert timing.queued + timing.load + timing.generate <= timing.total + 0.001
    assert timing.download is None
    assert job.honoured["seed"].note == "seed ignored"
    assert (job.step, job.preview) == (None, None)


async def test_what_the_backend_measured_goes_before_our_own_view(build: Build):
    async def measured(request: Request) -> Events:
        yield picture()
        yield Receipt(load=5.0, generate=7.0, download=0.5)

    timing = (await only(await build(a=measured))).timing
    assert (timing.load, timing.generate, timing.download) == (5.0, 7.0, 0.5)


async def test_what_a_library_needs_to_start_is_load_and_never_drawing(build: Build):
    async def local(request: Request) -> Events:
        await asyncio.sleep(0.1)
        yield Loading(message="starting PyTorch")
        await asyncio.sleep(0.2)
        yield Progress()
        yield picture("local")

    async def hosted(request: Request) -> Events:
        await asyncio.sleep(0.3)  # the client library is imported
        yield Sending()
        yield picture("hosted")

    world = await build(a=local, b=hosted)
    run = await finish(world, await world.runner.start(SPEC, ["test/a", "test/b"]))
    for timing in (job.timing for job in run.jobs):
        assert timing.load is not None and timing.load >= 0.3
        assert timing.generate is not None and timing.total is not None
        assert timing.load + timing.generate <= timing.total + 0.001


async def test_the_seconds_of_a_phase_count_from_a_moment_of_the_clock(build: Build):
    async def stepwise(request: Request) -> Events:
        await asyncio.sleep(0.1)
        yield Progress()
        await asyncio.sleep(0.2)
        yield Progress(step=1, steps=2)
        yield picture()

    world = await build(a=stepwise)
    run = await world.runner.start(SPEC, ["test/a"])
    since = dict[tuple[Phase, int | None], datetime]()
    async for job in world.runner.watch(run.id):
        if job.since is not None:
            since.setdefault((job.phase, job.step), job.since)
    begun, stepped = since[Phase.GENERATING, None], since[Phase.GENERATING, 1]
    assert abs(stepped - begun) < timedelta(seconds=0.1)  # the drawing's, and not the step's
    ended = await world.runner.get(run.id)
    assert ended is not None and ended.jobs[0].since is None


async def test_waiting_for_the_lane_is_queued(build: Build):
    async def brief(request: Request) -> Events:
        await asyncio.sleep(0.1)
        yield picture()

    world = await build(width=1, a=brief)
    run = await finish(world, await world.runner.start(SPEC, ["test/a"] * 3))
    queued = [job.timing.queued or 0.0 for job in run.jobs]
    assert queued[0] < queued[1] < queued[2]
    assert queued[1] >= 0.1 and queued[2] >= 0.2


async def test_a_run_outlives_its_watchers(build: Build):
    go = asyncio.Event()

    async def waits(request: Request) -> Events:
        yield Sending()
        await go.wait()
        yield picture()

    world = await build(a=waits)
    run = await world.runner.start(SPEC, ["test/a"])
    async with aclosing(world.runner.watch(run.id)) as jobs:
        await anext(jobs)
    go.set()
    assert (await finish(world, run)).jobs[0].outcome is Outcome.DONE
    # and whoever comes late, or comes again, sees how it ended
    late = [job.outcome async for job in world.runner.watch(run.id)]
    assert late == [Outcome.DONE]


async def test_a_caller_that_leaves_during_start_does_not_leave_half_a_run(build: Build):
    world = await build(a=good)
    starting = asyncio.create_task(world.runner.start(SPEC, ["test/a"]))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    async with asyncio.timeout(60):
        while True:
            (run,) = await world.store.recent(1) or (None,)
            if run is not None and run.jobs[0].outcome is Outcome.DONE:
                break
            await asyncio.sleep(0.01)


async def test_quick_news_is_thinned_but_the_last_look_arrives(build: Build):
    async def quick(request: Request) -> Events:
        for step in range(1, 501):
            yield Progress(step=step, steps=500, preview=Preview(str(step).encode()))
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        yield picture()

    world = await build(a=quick)
    began = time.monotonic()
    run = await world.runner.start(SPEC, ["test/a"])
    seen = [job async for job in world.runner.watch(run.id)]
    assert len(seen) < 15 + (time.monotonic() - began) / 0.1  # one in 0.1 s, and each new phase
    assert [job.step for job in seen if job.step][-1] == 500
    assert any(job.preview and job.preview.data == b"500" for job in seen)


async def test_another_process_can_follow_the_run(build: Build, home: Path):
    go = asyncio.Event()

    async def waits(request: Request) -> Events:
        yield Sending()
        await go.wait()
        yield picture()

    world = await build(a=waits)
    run = await world.runner.start(SPEC, ["test/a"])
    await until(world, run, Phase.SENT)
    other = World(home, {"a": waits}, world.availability.model("test/a").price)
    await other.open()
    seen: list[Phase] = []
    async with asyncio.timeout(60):
        async for job in other.runner.watch(run.id):
            seen.append(job.phase)
            go.set()
    assert seen == [Phase.SENT, Phase.ENDED]
    await other.close()


async def test_estimates_and_readiness(build: Build):
    world = await build(a=good)
    assert world.availability.estimates(SPEC.request, ["test/a"])["test/a"].low == Decimal("0.02")
    assert world.availability.ready(world.availability.model("test/a")).state is Readiness.READY


async def test_closing_ends_everything(build: Build):
    world = await build(a=sent_forever)
    run = await world.runner.start(SPEC, ["test/a"])
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
    run = await world.runner.start(SPEC, ["test/asks"])
    commands: list[str] = []
    async for job in world.runner.watch(run.id):
        if job.command and not pasted.is_set():
            assert (job.command, job.phase) == ("/imagine a fox", Phase.QUEUED)
            pasted.set()
        if job.phase is Phase.GENERATING:
            commands.append(job.command)
    assert commands and not any(commands)
