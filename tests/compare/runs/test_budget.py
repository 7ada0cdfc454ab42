"""A day has a limit, where the owner has set one."""

from dataclasses import replace
from decimal import Decimal

import pytest

from backends.base import Request, Sending
from compare.records import RunSpec
from compare.runs.budget import OverBudget
from tests.compare.conftest import FREE, Build
from tests.compare.helpers import Events, changed, finish, good

SPEC = RunSpec(Request(prompt="a fox"))


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "0.05")


async def test_a_run_that_might_cost_too_much_is_not_begun(build: Build) -> None:
    world = await build(good=good)  # 0.02 a picture
    for _ in range(2):
        await finish(world, await world.runner.start(SPEC, ["test/good"]))
    with pytest.raises(OverBudget, match=r"up to \$0\.02, and \$0\.04 of today's \$0\.05"):
        await world.runner.start(SPEC, ["test/good"])
    assert len(await world.store.recent()) == 2


async def test_pictures_count(build: Build) -> None:
    world = await build(good=good)
    with pytest.raises(OverBudget):
        await world.runner.start(changed(SPEC, count=3), ["test/good"])


async def test_what_is_free_is_never_too_much(build: Build) -> None:
    world = await build(good=good, price=replace(FREE, per_image=Decimal(0)))
    for _ in range(4):
        await finish(world, await world.runner.start(SPEC, ["test/good"]))


async def test_what_was_sent_and_never_answered_counts_too(build: Build) -> None:
    async def stuck(request: Request) -> Events:
        yield Sending()
        raise RuntimeError("gone")

    world = await build(stuck=stuck, good=good)
    await finish(world, await world.runner.start(SPEC, ["test/stuck"]))
    await finish(world, await world.runner.start(SPEC, ["test/good"]))
    with pytest.raises(OverBudget, match=r"\$0\.04 of"):
        await world.runner.start(SPEC, ["test/good"])
