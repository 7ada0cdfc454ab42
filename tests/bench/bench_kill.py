"""Thirty times `kill -9` of the app under eight paid jobs, at random moments.

The ratio is that of rounds in which a check failed: a request that was sent twice, a job without an
end after the restart, a picture that was whole and is lost.
"""

import random
import tempfile
from collections import Counter
from pathlib import Path

from tests.app.killing import MOMENTS, rounds
from tests.bench.report import Line, show
from tests.servers.openai import OpenAIServer

ROUNDS = 30


def main() -> list[Line]:
    """Measure and return the line for the report."""
    rng = random.Random(1)
    moments = [MOMENTS[number % len(MOMENTS)] for number in range(ROUNDS)]
    failed, outcomes, sent, pictures = 0, Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as folder, OpenAIServer() as server:
        for number, found in enumerate(rounds(Path(folder) / "home", server, rng, moments)):
            if isinstance(found, AssertionError):
                failed += 1
                print(f"round {number}: {found}", flush=True)
                continue
            outcomes += found.outcomes
            sent += found.sent
            pictures += found.pictures
    listed = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    detail = f"{outcomes.total()} jobs, {sent} requests, {pictures} pictures: {listed}"
    return [Line(f"rounds with a loss ÷ {ROUNDS} kills", failed / ROUNDS, 0.0, detail)]


if __name__ == "__main__":
    show(main())
