"""A run with a second step: another model goes on from the first one's picture."""

import asyncio
import logging
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Control, Progress, Receipt, Request, Sending
from backends.errors import Outcome, ServiceFault
from compare.records import Job, Phase, Run, RunSpec, SecondStep
from compare.runs.budget import OverBudget
from tests.compare.conftest import FREE, Build
from tests.compare.helpers import Events, changed, finish, good
from tests.compare.scripted import Script, World, picture

SPEC = RunSpec(
    Request(prompt="a fox"),
    second_step=SecondStep(model="test/then", prompt="a wolf", strength=0.4),
)


class Second:
    """A model that goes on from pictures, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Events:
        self.asked.append(request)
        yield Sending()
        yield picture(f"{request.prompt} after {len(self.asked)}")
        yield Receipt()


async def bad(request: Request) -> Events:
    yield Sending()
    raise ServiceFault("It burns.")


def held(gate: asyncio.Event, *, sent: bool = False) -> Script:
    """A model that draws when it is let."""

    async def script(request: Request) -> Events:
        if sent:
            yield Sending()
        yield Progress(step=1, steps=2)
        await gate.wait()
        yield picture("late")
        yield Receipt()

    return script


async def chained(world: World, *models: str, spec: RunSpec = SPEC) -> Run:
    return await finish(world, await world.runner.start(spec, [f"test/{m}" for m in models]))


async def until(world: World, run: Run, position: int, phase: Phase) -> Job:
    async with asyncio.timeout(60):
        while True:
            now = await world.runner.get(run.id)
            assert now is not None
            if now.jobs[position].phase is phase:
                return now.jobs[position]
            await asyncio.sleep(0.005)


async def test_every_model_is_followed_by_the_second_one(build: Build):
    second = Second()
    world = await build(a=good, b=good, then=second)
    run = await chained(world, "b", "a")
    assert [(job.model, job.parent) for job in run.jobs] == [
        ("test/b", None),
        ("test/then", run.jobs[0].id),
        ("test/a", None),
        ("test/then", run.jobs[2].id),
    ]
    assert [job.outcome for job in run.jobs] == [Outcome.DONE] * 4
    for asked in second.asked:
        assert (asked.image, asked.prompt) == (picture("a fox").data, "a wolf")
        assert (asked.strength, asked.count) == (0.4, 1)
    assert await world.store.run(run.id) == run
    again = await world.runner.start(run.spec, ["test/a"])
    assert again.spec.second_step == SPEC.second_step


async def test_the_first_models_know_nothing_of_it(build: Build):
    first = Second()
    world = await build(a=first, then=Second())
    own = changed(SPEC, image=b"mine", strength=0.9)
    await chained(world, "a", spec=own)
    assert first.asked == [own.request]


async def test_an_empty_prompt_is_the_same_and_options_come_on_top(build: Build):
    second = Second()
    world = await build(a=good, then=second)
    control = Control(image=b"lines")
    options = {"test": {"x": 1, "y": 1}}
    then = SecondStep(model="test/then", options={"test": {"y": 2}, "other": {"z": 3}})
    asked = Request(prompt="a fox", seed=3, count=4, controls=(control,), options=options)
    await chained(world, "a", spec=RunSpec(asked, second_step=then))
    (got,) = second.asked
    assert (got.prompt, got.seed, got.count, got.controls) == ("a fox", 3, 1, ())
    assert got.options == {"test": {"x": 1, "y": 2}, "other": {"z": 3}}
    assert got.strength is None


async def test_it_begins_at_once_and_does_not_wait_for_the_other_models(build: Build):
    gate = asyncio.Event()
    world = await build(fast=good, slow=held(gate), then=Second())
    run = await world.runner.start(SPEC, ["test/slow", "test/fast"])
    assert [job.phase for job in run.jobs][1::2] == [Phase.WAITING] * 2
    done = await until(world, run, 3, Phase.ENDED)
    assert done.outcome is Outcome.DONE
    now = await world.runner.get(run.id)
    assert now is not None and now.jobs[1].phase is Phase.WAITING
    gate.set()
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.DONE] * 4


async def test_waiting_for_the_first_step_is_not_the_seconds_time(build: Build):
    gate = asyncio.Event()
    world = await build(a=held(gate), then=Second())
    run = await world.runner.start(SPEC, ["test/a"])
    await until(world, run, 0, Phase.GENERATING)
    await asyncio.sleep(0.3)
    opened = time.monotonic()
    gate.set()
    first, second = (await finish(world, run)).jobs
    assert first.timing.total is not None and second.timing.total is not None
    assert first.timing.total >= 0.3
    assert second.timing.total <= time.monotonic() - opened
    assert second.created_at > first.created_at


async def test_a_first_step_that_fails_is_not_followed(build: Build):
    second = Second()
    world = await build(a=bad, b=good, then=second)
    run = await chained(world, "a", "b")
    outcomes = [job.outcome for job in run.jobs]
    assert outcomes == [Outcome.FAILED, Outcome.CANCELLED, Outcome.DONE, Outcome.DONE]
    left = run.jobs[1]
    assert left.message == "Not begun: A made no picture to go on from."
    assert (left.sent_at, left.cost.amount, left.timing.total) == (None, 0, None)
    assert len(second.asked) == 1


async def test_a_second_step_that_fails_leaves_the_first_alone_and_can_be_tried_again(build: Build):
    second = Second()
    scripts: dict[str, Script] = {"a": good, "then": bad}
    world = await build(**scripts)
    run = await chained(world, "a")
    assert [job.outcome for job in run.jobs] == [Outcome.DONE, Outcome.FAILED]
    world.scripts["then"] = second
    new = await world.runner.retry(run.id, run.jobs[1].id)
    assert (new.model, new.parent) == ("test/then", run.jobs[0].id)
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert second.asked[0].image == picture("a fox").data
    assert await world.store.run(run.id) == ended


async def test_a_first_step_that_is_tried_again_is_followed_again(build: Build):
    second = Second()
    world = await build(a=bad, then=second)
    run = await chained(world, "a")
    world.scripts["a"] = good
    with pytest.raises(ValueError, match="first step made no picture"):
        await world.runner.retry(run.id, run.jobs[1].id)
    new = await world.runner.retry(run.id, run.jobs[0].id)
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs][2:] == [Outcome.DONE] * 2
    assert ended.jobs[3].parent == new.id == ended.jobs[2].id
    assert await world.store.run(run.id) == ended


async def test_stop_ends_what_has_not_begun_for_free(build: Build):
    second = Second()
    world = await build(a=held(asyncio.Event(), sent=True), then=second)
    run = await world.runner.start(SPEC, ["test/a"])
    await until(world, run, 0, Phase.GENERATING)
    await world.runner.stop(run.id)
    first, left = (await finish(world, run)).jobs
    assert (first.outcome, left.outcome) == (Outcome.UNKNOWN, Outcome.CANCELLED)
    assert left.cost.amount == 0 and not second.asked


async def test_stopping_the_second_step_lets_the_first_go_on(build: Build):
    gate = asyncio.Event()
    world = await build(a=held(gate), then=Second())
    run = await world.runner.start(SPEC, ["test/a"])
    await until(world, run, 0, Phase.GENERATING)
    await world.runner.stop(run.id, run.jobs[1].id)
    gate.set()
    first, left = (await finish(world, run)).jobs
    assert (first.outcome, left.outcome) == (Outcome.DONE, Outcome.CANCELLED)


async def test_a_first_step_that_was_stopped_is_followed_only_when_somebody_says_so(build: Build):
    async def two(request: Request) -> Events:
        yield Sending()
        yield picture("one")
        await asyncio.sleep(3600)

    second = Second()
    world = await build(a=two, then=second)
    run = await world.runner.start(changed(SPEC, count=2), ["test/a"])
    async with asyncio.timeout(60):
        async for job in world.runner.watch(run.id):
            if job.pictures:
                break
    await world.runner.stop(run.id, run.jobs[0].id)
    ended = await finish(world, run)
    assert [job.outcome for job in ended.jobs] == [Outcome.UNKNOWN, Outcome.CANCELLED]
    await world.runner.retry(run.id, run.jobs[1].id)
    assert (await finish(world, run)).jobs[2].outcome is Outcome.DONE
    assert second.asked[0].image == picture("one").data


async def test_a_picture_that_is_gone_from_disk(build: Build):
    scripts: dict[str, Script] = {"a": good, "then": bad}
    world = await build(**scripts)
    run = await chained(world, "a")
    file = world.store.picture_path(run.jobs[0].pictures[0].sha256)
    assert file is not None
    file.unlink()
    await world.runner.retry(run.id, run.jobs[1].id)
    left = (await finish(world, run)).jobs[2]
    assert (left.outcome, left.cost.amount) == (Outcome.CANCELLED, 0)
    assert "no longer on disk" in left.message


async def test_both_steps_are_in_the_estimate(build: Build):
    world = await build(a=good, b=good, then=Second())
    costs = world.availability.expected(changed(SPEC, count=3), ["test/a", "test/b"])
    assert sorted(cost.high or 0 for cost in costs) == [
        Decimal(n) for n in ("0.02", "0.02", "0.06", "0.06")
    ]


async def test_both_steps_count_against_the_day(build: Build, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "0.05")
    gate = asyncio.Event()
    world = await build(a=held(gate), then=Second())
    with pytest.raises(OverBudget, match=r"up to \$0\.08"):
        await world.runner.start(SPEC, ["test/a", "test/a"])
    run = await world.runner.start(SPEC, ["test/a"])
    with pytest.raises(OverBudget, match=r"\$0\.04 of today's"):
        await world.runner.start(replace(SPEC, second_step=None), ["test/a"])
    gate.set()
    await finish(world, run)


async def test_another_try_must_fit_into_the_day_too(build: Build, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "0.05")
    world = await build(a=good, then=Second())
    run = await chained(world, "a")
    with pytest.raises(OverBudget, match=r"up to \$0\.04"):
        await world.runner.retry(run.id, run.jobs[0].id)
    with pytest.raises(OverBudget, match=r"up to \$0\.02"):
        await world.runner.retry(run.id, run.jobs[1].id)
    stored = await world.store.run(run.id)
    assert stored is not None and len(stored.jobs) == 2


async def test_what_was_given_comes_back_with_the_run(build: Build, home: Path):
    world = await build(a=good, then=Second(), price=FREE)
    spec = changed(SPEC, image=b"mine", controls=(Control(image=b"lines"),))
    run = await chained(world, "a", spec=spec)
    stored = await world.store.run(run.id)
    assert stored is not None and stored.spec == spec
    assert b"mine" not in (home / "lineup.db").read_bytes()


async def test_no_picture_is_in_the_log_or_in_a_repr(
    caplog: pytest.LogCaptureFixture, build: Build
):
    async def breaks(request: Request) -> Events:
        yield Sending()
        raise RuntimeError(repr(request))

    caplog.set_level(logging.DEBUG)
    world = await build(a=good, then=breaks)
    await chained(world, "a", spec=changed(SPEC, image=b"very-private"))
    assert "very-private" not in caplog.text and "IDAT" not in caplog.text
