"""One round of what `python -m tests.bench kill` does thirty times."""

import random
from pathlib import Path

from tests.app.killing import kill_once
from tests.servers.openai import OpenAIServer


def test_kill_9_of_the_app_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    rng = random.Random(7)
    with OpenAIServer() as server:
        found = kill_once(tmp_path / "home", server, rng, "round 0")
        assert found.outcomes.total() == 8
        assert found.sent > 0, "the kill came before any request"
