"""What a subscription costs a month is spread over the pictures that it made in it so far."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Basis, Request
from compare.lineup import open_lineup
from compare.records import Cost, RunSpec
from compare.settings import Settings
from tests.backends.craiyon.harness import CraiyonHarness


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[CraiyonHarness]:
    with CraiyonHarness() as here:
        for name, value in here.settings(here.origin).items():
            monkeypatch.setenv(name, value)
        yield here


async def cost(jobs: int) -> list[Cost]:
    """What so many jobs of nine pictures cost, one after the other."""
    found: list[Cost] = []
    async with open_lineup(Settings.read()) as lineup:
        for _ in range(jobs):
            run = await lineup.runner.start(RunSpec(Request(prompt="a lighthouse")), ["craiyon/v3"])
            async for job in lineup.runner.watch(run.id):
                if job.outcome is not None:
                    assert job.outcome == "done" and len(job.pictures) == 9, job.message
                    found.append(job.cost)
    return found


async def test_each_job_has_its_share(
    harness: CraiyonHarness, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAIYON_MONTHLY_USD", "20")
    costs = await cost(3)
    assert [each.amount for each in costs] == [Decimal(20), Decimal(10), Decimal("6.666667")]
    assert costs[0].basis is Basis.SUBSCRIPTION


@pytest.mark.parametrize("monthly", ["", "much", "-3", "0"])
async def test_without_its_price_the_cost_is_unknown(
    harness: CraiyonHarness, home: Path, monthly: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAIYON_MONTHLY_USD", monthly)
    assert [each.amount for each in await cost(1)] == [None]


async def test_without_a_subscription_nobody_pays(
    harness: CraiyonHarness, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAIYON_MONTHLY_USD", "20")
    monkeypatch.setenv("CRAIYON_TOKEN", "")
    assert [each.amount for each in await cost(1)] == [Decimal(0)]
