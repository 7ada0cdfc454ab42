"""The owner lends keys at a public address: the daily budget holds, and who pays is known."""

import sqlite3
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import pytest

from tests.app.visitor import Visitor
from tests.app_process import App, serve
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script

LENT, OWN = "sk-lent-by-the-owner-0001", "sk-typed-by-a-visitor-0001"
MODEL = ["openai/gpt-image-2.6-flare"]
VISITORS = 40


@pytest.fixture(scope="module")
def service() -> Generator[OpenAIServer, None, None]:
    """OpenAI's API; each picture takes longer than the tests."""
    with OpenAIServer(Script(delay=60)) as running:
        yield running


@pytest.fixture(scope="module")
def lending(
    tmp_path_factory: pytest.TempPathFactory, service: OpenAIServer
) -> Generator[App, None, None]:
    """The app of an owner who lends a key and 3 cents a day."""
    settings = {
        "LINEUP_HOSTS": "lineup.example",
        "LINEUP_SHARE_KEYS": "1",
        "LINEUP_DAILY_BUDGET": "0.03",
        "OPENAI_API_KEY": LENT,
        "OPENAI_BASE_URL": service.base_url,
    }
    with serve(tmp_path_factory.mktemp("lending"), **settings) as app:
        yield app


def column(app: App, name: str) -> list[str]:
    """Return a column of all jobs."""
    with closing(sqlite3.connect(app.home / "lineup.db")) as database:
        return [row[0] for row in database.execute(f"select {name} from jobs")]


def test_the_budget_holds_whoever_comes_at_once(lending: App, service: OpenAIServer) -> None:
    visitors = [Visitor(lending.address) for _ in range(VISITORS)]

    def press(visitor: Visitor) -> str:
        return visitor.call("compare", Prompt="a fox", html=MODEL, Quality="low").text

    with ThreadPoolExecutor(VISITORS) as threads:
        answers = list(threads.map(press, visitors))
    begun = sum("data-run" in answer for answer in answers)
    (high,) = set(column(lending, "high"))
    assert begun == Decimal("0.03") // Decimal(high), "as many as fit, and not one more"
    refused = [answer for answer in answers if "data-run" not in answer]
    assert all("budget is left" in answer for answer in refused)
    assert all("$0.03" not in answer for answer in refused), "not what the owner gives in all"
    assert all("LINEUP_DAILY_BUDGET" not in answer for answer in refused)
    assert column(lending, "payer") == ["owner"] * begun
    # A visitor's own key is neither refused by the owner's budget nor counted in it.
    own = visitors[0]
    own.type_key("OPENAI_API_KEY", OWN)
    assert own.compare("a fox", html=MODEL, Quality="high")
    assert column(lending, "payer").count("visitor") == 1
    deadline = time.monotonic() + 30
    while len(service.generations) < begun + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sent = [request.headers["authorization"] for request in service.generations]
    assert sent.count(f"Bearer {LENT}") <= begun


@pytest.mark.parametrize("quality", ["max", "xhigh", "auto", "high"])
def test_no_quality_gets_past_the_budget(lending: App, service: OpenAIServer, quality: str) -> None:
    before = len(service.generations)
    answer = Visitor(lending.address).call("compare", Prompt="x", html=MODEL, Quality=quality)
    assert "is left" in answer.text and len(service.generations) == before


@pytest.mark.parametrize("quality", ["ultra", 7, ["high"], {"a": 1}, " high", "HIGH"])
def test_a_quality_that_nobody_has_is_never_paid_for(
    lending: App, service: OpenAIServer, quality: object
) -> None:
    before = len(service.generations)
    answer = Visitor(lending.address).call("compare", Prompt="x", html=MODEL, Quality=quality)
    assert "Nobody knows what" in answer.text and len(service.generations) == before
