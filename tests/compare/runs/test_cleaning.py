"""Whatever a backend reports: the job ends, with what it made, and can be stored and shown."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backends.base import Applied, Loading, Preview, Progress, Queued, Receipt, Request, Sending
from backends.errors import Outcome, ServiceFault
from compare.records import RunSpec
from compare.runs import job_task
from tests.canaries import PLANTED, files_with_canaries, found
from tests.compare.conftest import Build
from tests.compare.helpers import Events, finish
from tests.compare.scripted import picture
from tests.servers.echo import texts

SPEC = RunSpec(Request(prompt="a fox"))
TEXTS = ("half \ud83e", "\0", "x" * 3_000_000, "\u202e", "line\r\ndata: {}\n\n")
NUMBERS: tuple[Any, ...] = (float("nan"), float("inf"), -1, 10**400, "7", None, True, 1e308, [])

SEEDS: tuple[Any, ...] = (2**63 - 1, 2**63, 2**64, 10**400, -1, "7")


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


@pytest.mark.parametrize(
    "seed", [2**63 - 1, 2**63, 2**64, 10**400, -1, "7"], ids=lambda seed: repr(seed)[:20]
)
async def test_a_picture_is_kept_whatever_its_seed(build: Build, seed: Any) -> None:
    async def hostile(request: Request) -> Events:
        yield Sending()
        yield picture(request.prompt, seed=seed)
        yield Receipt()

    world = await build(hostile=hostile)
    (job,) = (await finish(world, await world.runner.start(SPEC, ["test/hostile"]))).jobs
    assert job.outcome is Outcome.DONE and len(job.pictures) == 1
    assert job.pictures[0].seed == (seed if seed == 2**63 - 1 else None)


def _files(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*.png")]


async def test_a_picture_that_no_column_holds_is_rescued(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def hostile(request: Request) -> Events:
        yield Sending()
        yield replace(picture("first"), width=10**30)
        yield picture("second")
        yield Receipt()

    world = await build(hostile=hostile)
    (job,) = (await finish(world, await world.runner.start(SPEC, ["test/hostile"]))).jobs
    assert job.outcome is Outcome.FAILED and "A picture could not be stored." in job.message
    assert len(job.pictures) == 1, "the other one is kept"
    assert picture("first").data in _files(tmp_path)


@pytest.mark.parametrize("text", ["1E-999999", "0." + "1" * 100_000, "1E+999999"])
async def test_an_amount_of_a_million_digits_is_rounded_or_unknown(build: Build, text: str) -> None:
    async def hostile(request: Request) -> Events:
        yield Sending()
        yield picture(request.prompt)
        yield Receipt(charged=Decimal(text))

    world = await build(hostile=hostile)
    run = await finish(world, await world.runner.start(SPEC, ["test/hostile"]))
    assert run.jobs[0].outcome is Outcome.DONE
    amount = run.jobs[0].cost.amount
    assert amount is None or len(f"{amount:f}") < 20
    assert await world.store.run(run.id) == run


async def test_no_field_of_any_event_takes_a_key_along(
    build: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, key in PLANTED.items():
        monkeypatch.setenv(name, key)
    echo = " ".join(form for key in PLANTED.values() for form in texts(f"Bearer {key}"))[:40_000]
    some = echo[:1_500]

    async def hostile(request: Request) -> Events:
        yield Queued(message=some, command=echo)
        yield Loading(message=some)
        yield Sending()
        yield Progress(message=some)
        yield picture(request.prompt)
        yield Receipt(honoured={some[:90]: Applied(echo, echo, echo)}, usage={some: 1})

    async def refusing(request: Request) -> Events:
        yield Sending()
        raise ServiceFault(echo)

    async def broken(request: Request) -> Events:
        yield Sending()
        raise ValueError(echo)

    world = await build(hostile=hostile, refusing=refusing, broken=broken)
    run = await world.runner.start(
        SPEC, [f"test/{name}" for name in ("hostile", "refusing", "broken")]
    )
    shown = [repr(job) async for job in world.runner.watch(run.id)]
    assert sum("[hidden]" in text for text in shown) >= 3
    assert not any(found(text.encode()) for text in (*shown, caplog.text))
    assert files_with_canaries(world.store.home) == []


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: repr(number)[:20])
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
    "fault",
    [asyncio.CancelledError, MemoryError, RecursionError, GeneratorExit, UnicodeError, SystemExit],
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
