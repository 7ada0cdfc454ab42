"""The local backend against a plain diffusers script, and against itself.

Everything is interleaved in one process with the same pipeline and settings. A ratio is the median
of the ratios of neighbours in time, so that what else the machine does falls on both; beside it are
how far chance may have moved it, and the same of the processor's time, which a busy machine
disturbs less. The shipped miniature is drawn
where it is there, else a pipeline of about its size with random weights.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from backends.base import Config, Model, Picture, Request, Sizes
from backends.local import Local
from backends.paths import PROJECT
from tests.backends.local.tiny import models as tiny
from tests.bench.report import Line, show

MINIATURE: Final = PROJECT / "assets" / "miniatures" / "diffusion"
STEPS, GUIDANCE, SIDE, SEED, BATCH = 20, 4.0, 128, 5, 8
PROMPT: Final = "a red circle left of a blue square"
ASK: Final = Request(prompt=PROMPT, seed=SEED, num_inference_steps=STEPS, guidance_scale=GUIDANCE)
Way = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Taken:
    """The seconds that passed, and those that the processor's cores were at work."""

    passed: float
    worked: float


def plain(pipeline: Any) -> None:
    """Draw as a script would, PNG included."""
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


async def ours(
    local: Local, model: Model, request: Request = ASK, *, previews: bool = False
) -> None:
    """Draw through the backend, from asking to the last event."""
    request = replace(request, options={"local": {"previews": previews}})
    events = [event async for event in local.generate(model, request)]
    assert sum(isinstance(event, Picture) for event in events) == request.count


async def in_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[Taken]]:
    """What each way took, round by round; the first round warms up and is not counted."""
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        names = list(ways)[:: 1 if turn % 2 else -1]
        first = turn // 2 % len(names)  # nobody is always the first, or behind the same one
        for name in names[first:] + names[:first]:
            passed, worked = time.monotonic(), time.process_time()
            await ways[name]()
            one = Taken(time.monotonic() - passed, time.process_time() - worked)
            if turn:
                taken[name].append(one)
    return taken


def line(name: str, one: list[Taken], other: list[Taken], aim: float | None) -> Line:
    """The medians of the ratios, round by round, and how far chance may have moved the first."""
    ratios = [a.passed / b.passed for a, b in zip(one, other, strict=True)]
    passed, (low, high) = statistics.median(ratios), by_chance(ratios)
    worked = statistics.median(a.worked / b.worked for a, b in zip(one, other, strict=True))
    seconds = statistics.median(each.passed for each in other)
    detail = f"{low:.3f} to {high:.3f}; of {seconds:.2f} s; of the processor's time {worked:.3f}"
    return Line(name, passed, aim, detail)


def by_chance(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """Between what nine of ten medians lie, had other rounds of these been measured (bootstrap)."""
    dice = random.Random(1)
    medians = [statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(draws)]
    cuts = statistics.quantiles(medians, n=20)
    return cuts[0], cuts[-1]


async def against_a_script(local: Local, model: Model, rounds: int) -> list[Line]:
    """The same picture from a script, from Lineup, and from Lineup with previews."""
    pipeline: Any = DiffusionPipeline.from_pretrained(model.source)
    pipeline.set_progress_bar_config(disable=True)
    # In a thread of its own, as Lineup's is: on a busy machine OpenMP waits otherwise in a main
    # thread (GNU's spins there, and yields at once where there are more threads than cores).
    alone = ThreadPoolExecutor(1)

    async def script() -> None:
        await asyncio.get_running_loop().run_in_executor(alone, plain, pipeline)

    taken = await in_turns(
        {
            "script": script,
            "again": script,
            "quiet": lambda: ours(local, model),
            "previews": lambda: ours(local, model, previews=True),
        },
        rounds,
    )
    alone.shutdown()
    first, again, quiet, previews = taken.values()
    return [
        line("the script ÷ itself: how steady the machine is", again, first, None),
        line("local ÷ script, seconds a picture", quiet, first, 1.02),
        line("local with previews ÷ script", previews, first, 1.03),
        line("local with previews ÷ without", previews, quiet, 1.03),
    ]


async def against_itself(local: Local, model: Model, rounds: int) -> list[Line]:
    """Eight pictures at once against one after the other, and a second run against a first."""

    async def singles() -> None:
        for index in range(BATCH):
            await ours(local, model, replace(ASK, seed=SEED + index))

    async def first() -> None:
        await local.aclose()
        await ours(local, model)

    eight = await in_turns(
        {"batch": lambda: ours(local, model, replace(ASK, count=BATCH)), "singles": singles}, rounds
    )
    runs = await in_turns({"first": first, "second": lambda: ours(local, model)}, 2 * rounds)
    return [
        line(f"a batch of {BATCH} ÷ {BATCH} singles", eight["batch"], eight["singles"], 1.0),
        line("second run ÷ first, which reads the model", runs["second"], runs["first"], 1.0),
    ]


async def measure(folder: Path, rounds: int) -> list[Line]:
    """Everything that is drawn with the model in `folder`."""
    model = tiny.model(folder, sizes=Sizes(native=((SIDE, SIDE),), only_native=True))
    local = Local(Config(value=os.environ.get, home=folder))
    lines = await against_a_script(local, model, rounds)
    lines += await against_itself(local, model, max(1, rounds // 12))
    await local.aclose()
    return lines


def main(rounds: int = 40) -> list[Line]:
    """Measure and return the lines for the report."""
    if (MINIATURE / "model_index.json").is_file():
        return asyncio.run(measure(MINIATURE, rounds))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(tiny.diffusion(Path(folder), channels=96, side=SIDE), rounds))


if __name__ == "__main__":
    show(main())
