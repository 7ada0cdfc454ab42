"""Whether the seconds of drawing are the model's own, whatever else the run and the process do.

Five miniatures in one run against a run of each alone; and services that answer after exactly three
seconds, beside a miniature whose libraries are imported meanwhile. Every run is the command line in
a fresh process, where the first picture pays for every import.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

from backends.paths import PROJECT
from tests.bench.report import Line, show

FAMILIES: Final = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
PROMPT: Final = "a red star left of a blue ring"
DELAY: Final = 3.0
HOSTED: Final = ("openai/gpt-image-2", "google/gemini-nano-banana-2.1")


def run(models: Sequence[str], **settings: str) -> dict[str, dict[str, Any]]:
    """Run the models in a fresh process; return the times of each."""
    words = [word for model in models for word in ("-m", model)]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "compare", "run", PROMPT, *words, "--seed", "5", "--json"],
            cwd=PROJECT,
            env={**os.environ, "LINEUP_HOME": home, "LINEUP_ENV_FILE": os.devnull, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return {job["model"]: job["timing"] for job in json.loads(done.stdout)["jobs"]}


def together_and_alone(rounds: int) -> list[Line]:
    """The drawing of each miniature in a run of all five, against a run of its own."""
    models = [f"miniature/{family}" for family in FAMILIES]
    together: dict[str, list[float]] = {model: [] for model in models}
    alone: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(rounds):
        for model, timing in run(models).items():
            together[model].append(timing["generate"])
        for model in models:
            alone[model].append(run([model])[model]["generate"])
    lines = list[Line]()
    for model in models:
        # The least of the rounds: what else the machine does only adds.
        one, other = (min(each[model]) for each in (together, alone))
        detail = f"{one:.2f} s ÷ {other:.2f} s"
        lines.append(Line(f"{model}, five together ÷ alone", one / other, 1.1, detail))
    return lines


def hosted() -> list[Line]:
    """The seconds of services that take exactly `DELAY`, in the first run beside a miniature."""
    command = [sys.executable, "-m", "tests.bench.slow_servers", "--delay", str(DELAY)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        try:
            openai, google = servers.stdout.readline().split()
            times = run(
                ["miniature/diffusion", *HOSTED],
                OPENAI_BASE_URL=openai,
                OPENAI_API_KEY="bench",
                GOOGLE_BASE_URL=google,
                GOOGLE_API_KEY="bench",
            )
        finally:
            servers.terminate()
    return [
        Line(
            f"{model}, drawing ÷ the {DELAY:g} s that it takes",
            times[model]["generate"] / DELAY,
            1.1,
            f"{times[model]['generate']:.2f} s; load {times[model]['load']:.2f} s",
        )
        for model in HOSTED
    ]


def main(rounds: int = 3) -> list[Line]:
    """Measure and return the lines for the report."""
    return [*hosted(), *together_and_alone(rounds)]


if __name__ == "__main__":
    show(main())
