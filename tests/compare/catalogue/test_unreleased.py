"""Systems that nobody outside can run: shown as such, and saying so when they are asked."""

from pathlib import Path

import pytest

from backends.base import Readiness, Request, State
from backends.errors import Outcome
from compare.catalogue.listing import lines
from compare.lineup import build
from compare.records import RunSpec
from compare.settings import Settings

UNRELEASED = {
    "google/muse": "https://arxiv.org/abs/2301.00704",
    "google/imagen-1": "https://arxiv.org/abs/2205.11487",
    "google/parti": "https://arxiv.org/abs/2206.10789",
}


@pytest.mark.parametrize("id", UNRELEASED)
async def test_it_is_listed_with_its_paper_and_what_stands_in_for_it(id: str) -> None:
    lineup = build(Settings())
    try:
        (line,) = (
            each for each in lines(lineup.catalogue, lineup.availability) if each.model.id == id
        )
    finally:
        await lineup.aclose()
    assert line.model.links["paper"] == UNRELEASED[id]
    assert (line.status, line.price) == ("no public API", "–")
    assert line.ready.state is Readiness.UNAVAILABLE
    assert "was never released" in line.ready.sentence
    assert f"{line.model.status.successor} stands in for it here." in line.ready.sentence


@pytest.mark.parametrize("id", UNRELEASED)
async def test_it_cannot_be_run_and_says_why(id: str, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaNeverSent0001")
    lineup = build(Settings.read())
    await lineup.open()
    try:
        run = await lineup.runner.start(RunSpec(Request(prompt="a lighthouse")), [id])
        (job,) = [job async for job in lineup.runner.watch(run.id) if job.outcome is not None]
    finally:
        await lineup.aclose()
    assert job.outcome is Outcome.FAILED and "was never released" in job.message
    assert job.sent_at is None and job.cost.amount == 0
    assert lineup.catalogue.find(id).status.state is State.NO_API
