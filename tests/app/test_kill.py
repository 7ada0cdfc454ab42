"""Two rounds of what `python -m tests.bench kill` does thirty times."""

import random
from pathlib import Path

from tests.app.killing import Found, rounds
from tests.servers.openai import OpenAIServer


def test_kill_9_of_the_app_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        moments = ("sent", "arriving")
        for found in rounds(tmp_path / "home", server, random.Random(7), moments):
            assert isinstance(found, Found), found
            assert found.outcomes.total() == 8
            assert found.sent > 0, "the kill came before any request"
