"""Whether models come and go without leaving anything: fifty runs over six of them.

The process's memory after all runs is compared with what it was when each had drawn once. Once with
room for all six, and once with room for three, where at every turn one is read and one goes.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from backends.base import Config, Model, Request, Sizes
from backends.local import Local
from tests.backends.local.tiny import models as tiny
from tests.bench.report import Line, show

MODELS, RUNS, CHANNELS = 6, 50, 96
ASK: Final = Request(prompt="a red circle", num_inference_steps=2)


def resident() -> float:
    """The memory of this process in megabytes."""
    return psutil.Process().memory_info().rss / 1e6


async def measure(models: Sequence[Model], weights: int, room: int) -> Line:
    """Draw with each in turn, while `room` of them may stay; each has so many bytes of weights."""
    settings = {"LINEUP_MEMORY_GB": str((room + 0.5) * weights / 1e9)}
    local = Local(Config(value=settings.get, home=Path(models[0].source)))
    after_each = 0.0
    for turn in range(RUNS):
        async for _ in local.generate(models[turn % MODELS], ASK):
            pass
        if turn == MODELS - 1:
            after_each = resident()
    ratio = resident() / after_each
    await local.aclose()
    detail = f"{after_each:,.0f} MB, {weights / 1e6:.0f} MB a model"
    name = f"memory after {RUNS} runs over {MODELS} models ÷ after {MODELS}, room for {room}"
    return Line(name, ratio, 1.05, detail)


def main() -> list[Line]:
    """Measure and return the lines for the report."""
    with tempfile.TemporaryDirectory() as here:
        models = [
            tiny.model(
                tiny.diffusion(Path(here) / f"model{seed}", seed, CHANNELS),
                sizes=Sizes(native=((64, 64),), only_native=True),
            )
            for seed in range(MODELS)
        ]
        files = Path(models[0].source).glob("*/*.safetensors")
        weights = sum(file.stat().st_size for file in files)
        return [asyncio.run(measure(models, weights, room)) for room in (MODELS, MODELS // 2)]


if __name__ == "__main__":
    show(main())
