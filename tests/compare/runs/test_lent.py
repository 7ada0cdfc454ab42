"""What visitors learn and choose where the owner lends a key, and of runs that the owner made."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Applied, Request
from backends.errors import Outcome
from compare.lineup import Lineup, open_lineup
from compare.records import Job, Payer, Phase, Run, RunSpec
from compare.runs.budget import OverBudget
from compare.runs.outcome import LENT_FAILS
from compare.settings import Settings
from compare.store.store import Store
from compare.visitor_keys import visitor_keys
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import failing

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPEC = RunSpec(Request(prompt="a fox"))
MODEL = "openai/gpt-image-2"
PLACE = "http://studio.internal.example:8188"


@pytest.fixture
def settings(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A public address whose owner lends keys."""
    for name, value in {
        "OPENAI_API_KEY": "sk-lent-by-the-owner-0001",
        "OPENAI_BASE_URL": server.base_url,
        "HF_TOKEN": "hf_lentByTheOwner0000000002",
        "A1111_URL": PLACE,
        "LINEUP_SHARE_KEYS": "1",
        "LINEUP_DAILY_BUDGET": "5",
    }.items():
        monkeypatch.setenv(name, value)
    return Settings.read().for_visitors()


@pytest.fixture
async def lineup(settings: Settings) -> AsyncGenerator[Lineup]:
    async with open_lineup(settings) as opened:
        yield opened


async def ended(lineup: Lineup, run: Run) -> Job:
    """Wait for the run's only job."""
    *_, job = [job async for job in lineup.runner.watch(run.id)]
    return job


@pytest.mark.parametrize(
    "answer",
    [
        failing(401, "invalid_api_key", "Incorrect API key provided for org-of-the-owner."),
        failing(403, None, "Your organization org-of-the-owner must be verified."),
        failing(429, "insufficient_quota", "You exceeded your current quota of $12."),
    ],
)
async def test_the_account_behind_a_lent_key_stays_its_owners(
    lineup: Lineup, server: OpenAIServer, answer: object
) -> None:
    server.usual = answer  # pyright: ignore[reportAttributeAccessIssue]
    job = await ended(lineup, await lineup.runner.start(SPEC, [MODEL], "a"))
    assert (job.outcome, job.payer) == (Outcome.FAILED, Payer.OWNER)
    assert job.message == LENT_FAILS.format("OpenAI") and job.cost.amount == 0
    with visitor_keys({"OPENAI_API_KEY": "sk-typed-by-a-visitor-0001"}):
        run = await lineup.runner.start(SPEC, [MODEL], "a")
    own = await ended(lineup, run)
    assert own.payer is Payer.VISITOR and "lent" not in own.message


async def test_a_visitor_names_no_account_of_the_owners(lineup: Lineup) -> None:
    model = "huggingface/flux.1-schnell@nscale"
    billed = replace(SPEC.request, options={"huggingface": {"bill_to": "the-owners-company"}})
    with pytest.raises(OverBudget, match=r"Bill to.*for keys of your own"):
        await lineup.runner.start(RunSpec(billed), [model], "a")
    assert await lineup.store.recent() == ()


async def test_runs_that_the_owner_made_show_no_address_to_visitors(
    settings: Settings, home: Path
) -> None:
    """They were stored on loopback, with the address of the owner's server in every text."""
    said = f"The server at {PLACE.partition('//')[2]} is down."
    job = Job(
        id="r-0",
        run_id="r",
        model="a1111/current",
        created_at=NOW,
        phase=Phase.ENDED,
        outcome=Outcome.FAILED,
        message=said,
        honoured={"model": Applied(PLACE, said, said), "seed": Applied(7, None)},
    )
    store = Store(home)
    await store.open()
    await store.add_run(Run(id="r", created_at=NOW, spec=SPEC, jobs=(job,)))
    await store.save_job(job)
    await store.close()
    async with open_lineup(settings) as lineup:
        run = await lineup.runner.get("r")
        batch = await lineup.runner.batch("r")
        watched = [job async for job in lineup.runner.watch("r")]
    assert run is not None and run.jobs[0].honoured["seed"] == Applied(7, None)
    for shown in (run.jobs, batch[0].jobs, watched):
        assert "studio" not in str(shown) and "8188" not in str(shown)
        assert "is down" in shown[0].message
    async with open_lineup(Settings.read()) as lineup:
        run = await lineup.runner.get("r")
        assert run is not None and run.jobs[0].message == said


async def test_a_grid_is_reserved_at_the_price_that_is_charged(
    lineup: Lineup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDJOURNEY_GRID_USD", "0.75")
    (cost,) = lineup.availability.expected(SPEC, ["midjourney/v8.1"])
    assert cost.high == Decimal("0.75")
