"""What goes wrong in a run is a sentence on its card, and nothing is sent unseen."""

import logging
import shutil
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import (
    Progress,
    Request,
    Sending,
)
from backends.errors import BadInput, Outcome, Refused, ServiceFault, TimedOut, Unanswered
from compare.catalogue.catalogue import UnknownModel
from compare.runs.broadcast import UnknownRun
from tests.compare.conftest import Build
from tests.compare.helpers import NO, SPEC, Events, finish, good, only, sent_forever
from tests.compare.scripted import picture


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
    run = await finish(world, await world.runner.start(SPEC, ["test/a", "test/b"]))
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


async def test_a_full_disk_costs_one_card_and_no_picture(
    build: Build, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = await build(a=good, b=sent_forever)
    run = await world.runner.start(SPEC, ["test/b"])
    rescued = tmp_path / "elsewhere"
    rescued.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rescued))
    shutil.rmtree(home / "incoming")
    (home / "incoming").write_bytes(b"no folder, so nothing can be written there")
    second = await finish(world, await world.runner.start(SPEC, ["test/a"]))
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
    run = await finish(world, await world.runner.start(SPEC, ["test/a"]))
    (job,) = run.jobs
    assert job.outcome is Outcome.FAILED and job.cost.amount == 0
    assert not left
    assert world.backend.closed == ["a"]


async def test_nothing_is_written_for_a_model_that_is_not_there(build: Build):
    world = await build(a=good)
    with pytest.raises(UnknownModel):
        await world.runner.start(SPEC, ["test/a", "test/z"])
    with pytest.raises(ValueError):
        await world.runner.start(SPEC, [])
    assert await world.store.recent() == ()
    with pytest.raises(UnknownRun):
        await anext(world.runner.watch("nothing"))
