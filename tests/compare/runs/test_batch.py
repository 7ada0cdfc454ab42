"""Several runs started together: all or none of them, one budget, found again by each other."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from backends.base import Request, Sending
from backends.errors import Outcome
from compare.prompts.variants import spread
from compare.records import RunSpec
from compare.runs.budget import OverBudget
from compare.runs.runner import new_run_ids
from compare.store.errors import StoreError
from tests.compare.conftest import Build
from tests.compare.helpers import Events, finish, forever, good

SPECS = spread(RunSpec(Request(prompt="a {red|blue|green} fox", seed=7)), {})


async def test_each_variant_is_a_run_of_its_own_in_the_store(build: Build, home: Path) -> None:
    world = await build(good=good)
    runs = await world.runner.start_all(SPECS, ["test/good"], "ab" * 32)
    for run in runs:
        assert (await finish(world, run)).visitor == "ab" * 32
    kept = [await world.store.run(run.id) for run in runs]
    assert {run.visitor for run in kept if run} == {"ab" * 32}
    assert [run.request.prompt for run in kept if run] == ["a red fox", "a blue fox", "a green fox"]
    assert all(run and run.spec.provenance.template == "a {red|blue|green} fox" for run in kept)
    assert all(run and run.request.seed == 7 for run in kept)
    assert all(job.outcome is Outcome.DONE for run in kept if run for job in run.jobs)


async def test_each_of_them_leads_to_all_of_them_in_order(build: Build) -> None:
    world = await build(good=good)
    many = spread(RunSpec(Request(prompt="{a|b|c}{d|e|f|g}")), {})
    runs = await world.runner.start_all(many, ["test/good"])
    alone = await world.runner.start(RunSpec(Request(prompt="a cat")), ["test/good"])
    ids = [run.id for run in runs]
    assert len(ids) == 12
    assert [run.id for run in await world.runner.batch(ids[10])] == ids
    assert [run.id for run in await world.runner.batch(alone.id)] == [alone.id]
    assert await world.runner.batch("nonsense") == ()
    assert await world.runner.batch("%v1") == ()
    for run in (*runs, alone):
        await finish(world, run)


def delete_database(home: Path) -> None:
    for file in home.glob("lineup.db*"):
        file.unlink()


async def test_a_batch_is_stopped_without_the_database(build: Build, home: Path) -> None:
    world = await build(waits=forever)
    runs = await world.runner.start_all(SPECS, ["test/waits"])
    delete_database(home)
    async with asyncio.timeout(60):
        await world.runner.stop_batch(runs[1].id)
    stopped = await world.runner.batch(runs[0].id)
    assert [job.outcome for run in stopped for job in run.jobs] == [Outcome.CANCELLED] * 3


async def test_stopping_a_batch_stops_every_run_of_it_and_no_other(build: Build) -> None:
    async def waits(request: Request) -> Events:
        await asyncio.sleep(3600)
        yield Sending()

    world = await build(waits=waits)
    runs = await world.runner.start_all(SPECS, ["test/waits"])
    other = await world.runner.start(SPECS[0], ["test/waits"])
    await world.runner.stop_batch(runs[1].id)
    stopped = await world.runner.batch(runs[0].id)
    assert [job.outcome for run in stopped for job in run.jobs] == [Outcome.CANCELLED] * 3
    still = await world.runner.get(other.id)
    assert still is not None and still.jobs[0].outcome is None


async def test_a_budget_holds_for_all_of_them_together(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "0.05")
    world = await build(good=good)  # 0.02 a picture
    with pytest.raises(OverBudget, match=r"up to \$0\.06"):
        await world.runner.start_all(SPECS, ["test/good"])
    assert await world.store.recent() == ()
    assert len(await world.runner.start_all(SPECS[:2], ["test/good"])) == 2


async def test_none_is_begun_where_one_cannot_be_written_down(build: Build, home: Path) -> None:
    drawn: list[str] = []

    async def notes(request: Request) -> Events:
        drawn.append(request.prompt)
        async for event in good(request):
            yield event

    world = await build(notes=notes)
    with sqlite3.connect(home / "lineup.db") as database:
        database.execute(
            "create trigger no_green before insert on runs when new.prompt like '%green%' "
            "begin select raise(abort, 'no green'); end"
        )
    with pytest.raises(StoreError):
        await world.runner.start_all(SPECS, ["test/notes"])
    assert await world.store.recent() == ()
    assert drawn == []


def test_ids_of_a_batch_begin_alike_and_others_do_not() -> None:
    ids = new_run_ids(3)
    beginnings = {id.partition("v")[0] for id in ids}
    assert len(beginnings) == 1 and [id.partition("v")[2] for id in ids] == ["1", "2", "3"]
    (alone,) = new_run_ids(1)
    assert "v" not in alone
    assert not ids[0].startswith(alone)
