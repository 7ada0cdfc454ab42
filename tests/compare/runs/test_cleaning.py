"""Whatever a backend reports: the job ends, with what it made, and can be stored and shown."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from backends.base import Applied, Loading, Preview, Progress, Queued, Receipt, Request, Sending
from backends.errors import Outcome, ServiceFault
from compare.records import RunSpec
from compare.runs import job_task
from tests.compare.conftest import Build
from tests.compare.helpers import Events, finish
from tests.compare.scripted import picture

SPEC = RunSpec(Request(prompt="a fox"))
TEXTS = ("half \ud83e", "\0", "x" * 3_000_000, "\u202e", "line\r\ndata: {}\n\n")
NUMBERS: tuple[Any, ...] = (float("nan"), float("inf"), -1, 10**400, "7", None, True, 1e308, [])


@pytest.mark.parametrize("text", TEXTS, ids=["surrogate", "nul", "megabytes", "bidi", "event"])
async def test_any_text_is_stored_and_shown(build: Build, text: str) -> None:
    async def hostile(request: Request) -> Events:
        yield Queued(message=text, command=text)
        yield Loading(message=text)
        yield Sending()
        yield Progress(message=text, preview=Preview(b"x", text))
        yield picture(request.prompt)
        yield Receipt(
            honoured={text: Applied(text, text, text), "seed": Applied(10**400, float("nan"))},
            usage={text: 1},
        )

    async def refusing(request: Request) -> Events:
        yield Sending()
        raise ServiceFault(text)

    world = await build(hostile=hostile, refusing=refusing)
    run = await finish(world, await world.runner.start(SPEC, ["test/hostile", "test/refusing"]))
    good, bad = run.jobs
    assert good.outcome is Outcome.DONE and len(good.pictures) == 1
    assert bad.outcome is Outcome.FAILED and len(bad.message) <= 2_000
    stored = await world.store.run(run.id)
    assert stored is not None and stored.jobs == run.jobs
    shown = json.dumps([str(job.honoured) + job.message for job in stored.jobs], ensure_ascii=False)
    shown.encode()
    assert "\0" not in shown and len(shown) < 200_000


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
async def test_any_number_is_left_out_or_used(build: Build, number: Any) -> None:
    async def hostile(request: Request) -> Events:
        yield Sending()
        yield Progress(step=number, steps=number)
        yield picture(request.prompt)
        yield Receipt(load=number, generate=number, download=number, usage={"image_output": number})

    async def charging(request: Request) -> Events:
        yield Sending()
        yield picture(request.prompt)
        charged: Any = Decimal(number) if isinstance(number, int | float) else Decimal("NaN")
        yield Receipt(charged=charged, monthly=charged)

    world = await build(hostile=hostile, charging=charging)
    run = await finish(world, await world.runner.start(SPEC, ["test/hostile", "test/charging"]))
    assert all(job.outcome is Outcome.DONE and len(job.pictures) == 1 for job in run.jobs)
    assert await world.store.run(run.id) == run
    costs = [job.cost.amount for job in run.jobs]
    assert all(cost is None or (cost.is_finite() and cost >= 0) for cost in costs)


@pytest.mark.parametrize(
    "fault", [asyncio.CancelledError, MemoryError, RecursionError, GeneratorExit, UnicodeError]
)
async def test_any_exception_of_a_backend_ends_its_job(
    build: Build, fault: Callable[[], BaseException]
) -> None:
    async def broken(request: Request) -> Events:
        yield Sending()
        yield picture(request.prompt)
        raise fault()

    world = await build(broken=broken)
    run = await finish(world, await world.runner.start(SPEC, ["test/broken"]))
    (job,) = run.jobs
    assert job.outcome is Outcome.FAILED and "this is a bug" in job.message
    assert len(job.pictures) == 1, "what came is kept"


async def test_a_backend_that_does_not_stop_is_left_behind(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_task, "CLEANUP_SECONDS", 0.05)
    released = asyncio.Event()

    async def stubborn(request: Request) -> Events:
        yield Sending()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        yield Progress(message="still here")

    world = await build(stubborn=stubborn)
    run = await world.runner.start(SPEC, ["test/stubborn"])
    async for job in world.runner.watch(run.id):
        if job.sent_at is not None:
            break
    async with asyncio.timeout(10):
        await world.runner.stop(run.id)
    ended = await world.runner.get(run.id)
    assert ended is not None and ended.jobs[0].outcome is Outcome.UNKNOWN
    released.set()
