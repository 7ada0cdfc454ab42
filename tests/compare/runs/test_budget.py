"""A day has a limit, where the owner has set one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Basis, Model, Price, Request, Sending
from compare.records import Cost, Job, Payer, Run, RunSpec, SecondStep
from compare.runs.budget import OverBudget, check_lent, today
from compare.runs.limits import OverLimit, Places, check_specs
from compare.settings import Settings
from compare.store.budget import BudgetExceeded
from compare.store.store import Store
from tests.compare.conftest import FREE, Build
from tests.compare.helpers import Events, changed, finish, good

NOW = datetime.now(UTC)
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


async def test_forty_at_once_where_two_fit(build: Build) -> None:
    world = await build(good=good)
    starts = (world.runner.start(SPEC, ["test/good"], str(n)) for n in range(40))
    runs = await asyncio.gather(*starts, return_exceptions=True)
    assert sum(isinstance(run, Run) for run in runs) == 2
    assert all(isinstance(run, Run | OverBudget) for run in runs)
    assert len(await world.store.recent()) == 2, "what is refused is not stored"


async def test_second_steps_are_counted_and_retries_too(build: Build) -> None:
    world = await build(good=good)
    two_steps = replace(SPEC, second_step=SecondStep(model="test/good"))
    run = await finish(world, await world.runner.start(two_steps, ["test/good"]))
    retries = (world.runner.retry(run.id, run.jobs[0].id) for _ in range(5))
    assert all(
        isinstance(r, OverBudget) for r in await asyncio.gather(*retries, return_exceptions=True)
    )
    with pytest.raises(OverBudget, match=r"up to \$0\.04, and \$0\.04 of"):
        await world.runner.start(two_steps, ["test/good"])


async def test_two_processes_share_the_budget(build: Build, home: Path) -> None:
    """Two stores with databases of their own threads, as two processes have."""
    world = await build(good=good)
    other = Store(home)
    await other.open()
    try:
        budget = today(Decimal("0.05"))
        job = Job(
            id="", run_id="", model="test/good", created_at=NOW, cost=Cost(high=Decimal("0.02"))
        )
        runs = [
            Run(
                id=f"r{n}",
                created_at=NOW,
                spec=SPEC,
                jobs=(replace(job, id=f"r{n}-0", run_id=f"r{n}"),),
            )
            for n in range(20)
        ]
        stores = (world.store, other)
        adds = (stores[n % 2].add_run(run, budget=budget) for n, run in enumerate(runs))
        results = await asyncio.gather(*adds, return_exceptions=True)
        assert sum(result is None for result in results) == 2
        assert all(result is None or isinstance(result, BudgetExceeded) for result in results)
    finally:
        await other.close()


@pytest.fixture
def visitors(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a public address whose owner lends keys."""
    monkeypatch.setenv("LINEUP_SHARE_KEYS", "1")
    return Settings.read().for_visitors()


def test_a_price_without_an_upper_bound_is_not_lent() -> None:
    model = Model(id="test/good", label="Good", family="", source="good")
    paid = replace(model, price=Price(basis=Basis.USAGE))
    job = Job(id="a-0", run_id="a", model="test/good", created_at=NOW)
    with pytest.raises(OverBudget, match="Nobody knows what Good costs"):
        check_lent([(job, paid)])
    check_lent([(replace(job, payer=Payer.VISITOR), paid)])
    check_lent([(replace(job, cost=Cost(high=Decimal(1))), paid)])
    check_lent([(job, replace(model, price=Price(basis=Basis.FREE)))])


def test_limits_of_a_visitor(visitors: Settings) -> None:
    spec = changed(SPEC, num_inference_steps=101)
    with pytest.raises(OverLimit, match="at most 100 steps"):
        check_specs(visitors, [SPEC, spec])
    with pytest.raises(OverLimit, match="at most 8 pictures"):
        check_specs(visitors, [changed(SPEC, count=9)])
    check_specs(Settings.read(), [changed(spec, count=20)])
    places = Places(lambda visitor: 50 if visitor == "busy" else 0)
    with (
        pytest.raises(OverLimit, match="have 50 and ask for 11"),
        places.reserve(visitors, "busy", 11),
    ):
        pass
    with places.reserve(visitors, "a", 40), places.reserve(visitors, "b", 60):
        with pytest.raises(OverLimit), places.reserve(visitors, "a", 21):
            pass
        with places.reserve(visitors, "a", 20):
            pass
    with places.reserve(Settings.read(), "a", 1000):
        pass
