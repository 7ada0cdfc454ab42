"""Two processes that draw the five miniatures at the same time, against one that draws alone.

    python -m tests.bench processes

Each process reads its models and draws them once before anything is measured; then it draws all
five at every line on its input, and answers with the seconds that they took. Rounds with one and
with two processes take turns. Two processes share the cores, so 2 is what fair sharing costs where
one alone keeps all of them busy; more is time that threads lose to each other.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backends.base import Config, Picture, Request
from backends.local import Miniature
from backends.paths import PROJECT
from backends.threads import set_wait_policy
from compare.catalogue import catalogue
from tests.bench.report import Line, show

ROUNDS: Final = 7
REQUEST: Final = Request(prompt="a red circle left of a blue square", seed=5)
OWN_SETTINGS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables that are cleared: Lineup's own choice is measured."""


async def draw_miniatures(backend: Miniature) -> None:
    """Draw one picture with each miniature, all requested at once."""

    async def draw(model_id: str) -> None:
        events = [event async for event in backend.generate(models[model_id], REQUEST)]
        assert any(isinstance(event, Picture) for event in events)

    every = catalogue.load().models
    models = {model.id: model for model in every if model.id.startswith("miniature/")}
    await asyncio.gather(*map(draw, models))


async def serve(home: Path) -> None:
    """Draw at each line on the standard input and answer with the seconds that it took."""
    backend = Miniature(Config(value={}.get, home=home))
    await draw_miniatures(backend)
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        start = time.monotonic()
        await draw_miniatures(backend)
        print(time.monotonic() - start, flush=True)
    await backend.aclose()


@contextmanager
def process(home: str) -> Generator["subprocess.Popen[str]"]:
    """Start a process that answers "ready" once it can be measured, and ends with the context."""
    command = [sys.executable, "-m", "tests.bench.bench_processes", "--home", home]
    environment = {name: text for name, text in os.environ.items() if name not in OWN_SETTINGS}
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        yield running


def answer(process: "subprocess.Popen[str]") -> str:
    """Read one line of a process.

    Raises:
        RuntimeError: the process has ended.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("A process could not draw the miniatures.")
    return line


def measure(*processes: "subprocess.Popen[str]") -> float:
    """Let the processes draw at the same time; return the seconds until the last has finished."""
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("draw\n")
        each.stdin.flush()
    return max(float(answer(each)) for each in processes)


def main(rounds: int = ROUNDS) -> list[Line]:
    """Measure and return the line for the report."""
    alone: list[float] = []
    both: list[float] = []
    with tempfile.TemporaryDirectory() as home, process(home) as one, process(home) as other:
        for each in (one, other):
            answer(each)  # "ready"
        for _ in range(rounds):
            alone.append(measure(one))
            both.append(measure(one, other))
    ratio = statistics.median(two / single for two, single in zip(both, alone, strict=True))
    detail = (
        f"{statistics.median(both):.2f} s ÷ {statistics.median(alone):.2f} s, for five pictures"
    )
    return [Line("two processes that draw the miniatures ÷ one alone", ratio, 2.2, detail)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    folder: Path | None = parser.parse_args().home
    if folder is None:
        show(main())
    else:
        set_wait_policy()
        asyncio.run(serve(folder))
