"""The local backend against a plain diffusers script: same pipeline, same settings.

Interleaved in one process; prints the ratio of the medians. The shipped miniature is used where
it is there, else a pipeline of about its size with random weights.
"""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from backends.base import Config, Model, Picture, Request, Sizes
from backends.local import Local
from backends.local.sources import PROJECT
from tests.backends import tiny_models as tiny
from tests.bench.report import Line, show

MINIATURE = PROJECT / "assets" / "miniatures" / "diffusion"
STEPS, GUIDANCE, SIDE, SEED = 20, 4.0, 128, 5
PROMPT = "a red circle left of a blue square"


def plain(pipeline: Any) -> float:
    """Draw as a script would, PNG included; return the seconds."""
    began = time.monotonic()
    result = pipeline(
        PROMPT,
        width=SIDE,
        height=SIDE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator("cpu").manual_seed(SEED),
    )
    with tempfile.TemporaryFile() as file:
        result.images[0].save(file, "PNG")
    return time.monotonic() - began


async def ours(local: Local, model: Model, *, previews: bool) -> float:
    """Draw through the backend; return the seconds from asking to the last event."""
    request = Request(
        prompt=PROMPT,
        seed=SEED,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        options={"local": {"previews": previews}},
    )
    began = time.monotonic()
    events = [event async for event in local.generate(model, request)]
    assert any(isinstance(event, Picture) for event in events)
    return time.monotonic() - began


async def measure(folder: Path, rounds: int) -> list[Line]:
    """Interleave the three ways and compare their medians."""
    model = tiny.model(folder, sizes=Sizes(native=((SIDE, SIDE),), only_native=True))
    local = Local(Config(value=os.environ.get, home=folder))
    pipeline: Any = DiffusionPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    seconds: dict[str, list[float]] = {"plain": [], "quiet": [], "previews": []}
    for turn in range(rounds + 1):
        times = {
            "plain": await asyncio.to_thread(plain, pipeline),
            "quiet": await ours(local, model, previews=False),
            "previews": await ours(local, model, previews=True),
        }
        for name, value in times.items() if turn else ():  # the first turn loads and warms up
            seconds[name].append(value)
    await local.aclose()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    detail = f"plain {medians['plain']:.2f} s, {STEPS} steps, {SIDE}x{SIDE}"
    return [
        Line(
            "local backend ÷ plain diffusers, no previews",
            medians["quiet"] / medians["plain"],
            1.05,
            detail,
        ),
        Line(
            "local backend ÷ plain diffusers, with previews",
            medians["previews"] / medians["plain"],
            1.08,
        ),
    ]


def main(rounds: int = 7) -> list[Line]:
    """Measure and return the lines for the report."""
    if (MINIATURE / "model_index.json").is_file():
        return asyncio.run(measure(MINIATURE, rounds))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(tiny.diffusion(Path(folder), channels=96, side=SIDE), rounds))


if __name__ == "__main__":
    show(main())
