"""How often a miniature draws what it was asked for, judged by rule.

Prompts come from scenes whose combination was never trained on, in the same wordings as in
training. Everything runs through the exported folders and the ordinary pipelines.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from backends.miniatures import captions, world
from backends.miniatures.check import Verdict, judge
from backends.miniatures.defaults import EXAMPLE, SETTINGS
from backends.miniatures.edges import agreement, canny
from backends.miniatures.export import ASSETS, parameters
from backends.miniatures.sight import look

BATCH: Final = 16
SEED: Final = 1
EDGES_FOLLOWED: Final = 0.9
"""F1 (within two pixels) from which the drawn edges count as following the given ones."""

Drawer: TypeAlias = Callable[[list[str], list[Image.Image]], list[Image.Image]]


@dataclass(slots=True)
class Count:
    """How many of how many."""

    passed: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        """One more case."""
        self.passed += right
        self.total += 1


@dataclass(slots=True)
class Score:
    """A miniature's measured figures; `seconds_per_picture` is for one picture at a time."""

    name: str
    parameters: int
    megabytes: float
    steps: int
    seconds_per_picture: float
    categories: dict[str, Count] = field(default_factory=dict[str, Count])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def score(name: str, count: int) -> Score:
    """Draw `count` pictures per kind of scene and judge them."""
    if name == "canny":
        return _score_control(count)
    pipe = cast(Any, DiffusionPipeline.from_pretrained(str(ASSETS / name)))
    models = [module for module in pipe.components.values() if isinstance(module, torch.nn.Module)]
    result = _start(name, models, ASSETS / name, drawer(pipe, name))
    tally = result.categories
    for wanted, full, verdict in _judged(drawer(pipe, name), count, pairs=False):
        _add(tally, "single object", verdict.single_object)
        _add(tally, "colour", verdict.colours)
        _add(tally, "background", verdict.background)
        if full and wanted.position is not None:
            _add(tally, "position", verdict.position)
    for _, _, verdict in _judged(drawer(pipe, name), count, pairs=True):
        _add(tally, "two objects", verdict.two_objects)
        _add(tally, "attribute binding", verdict.binding)
    if name == "diffusion" and (ASSETS / "canny").exists():
        tally.update(_score_control(count).categories)
    return result


def drawer(pipe: Any, name: str) -> Drawer:
    """A function from prompts (and control pictures) to pictures, at the default settings."""
    pipe.set_progress_bar_config(disable=True)
    setting = SETTINGS[name]
    dice = torch.Generator().manual_seed(SEED)

    def draw(prompts: list[str], control: list[Image.Image]) -> list[Image.Image]:
        extra = {"image": control} if control else {}
        return pipe(
            prompts,
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            generator=dice,
            **extra,
        ).images

    return draw


def control_pipeline() -> StableDiffusionControlNetPipeline:
    """The diffusion miniature with its Canny ControlNet."""
    pipe = cast(
        StableDiffusionPipeline, DiffusionPipeline.from_pretrained(str(ASSETS / "diffusion"))
    )
    control = ControlNetModel.from_pretrained(str(ASSETS / "canny"))
    return StableDiffusionControlNetPipeline(
        **pipe.components, controlnet=control, requires_safety_checker=False
    )


def held_out_scenes(count: int, *, pairs: bool) -> list[world.Scene]:
    """The scenes that every model is scored on."""
    dice = random.Random(SEED)
    share = 1.0 if pairs else 0.0
    return [world.sample(dice, pairs=share, held_out_only=True) for _ in range(count)]


def _judged(
    draw: Drawer, count: int, *, pairs: bool
) -> Iterator[tuple[world.Scene, bool, Verdict]]:
    """Scene, whether its caption named everything, and the verdict; every other caption does."""
    dice = random.Random(SEED)
    scenes = held_out_scenes(count, pairs=pairs)
    prompts = [
        captions.write(scene, dice, vague=0, loose=0, full=index % 2 == 0)
        for index, scene in enumerate(scenes)
    ]
    for start in range(0, count, BATCH):
        drawn = draw(prompts[start : start + BATCH], [])
        for index, picture in enumerate(drawn, start):
            yield scenes[index], index % 2 == 0, judge(look(picture), scenes[index])


def _score_control(count: int) -> Score:
    pipe = control_pipeline()
    draw = drawer(pipe, "canny")
    control = cast(torch.nn.Module, pipe.controlnet)
    example = canny(world.draw(held_out_scenes(1, pairs=True)[0]))
    result = _start("canny", [control], ASSETS / "canny", lambda p, _: draw(p, [example] * len(p)))
    half = count // 2
    scenes = held_out_scenes(half, pairs=False) + held_out_scenes(count - half, pairs=True)
    for scene, follows, picture in _steered(draw, scenes):
        _add(result.categories, "edges", follows)
        _add(result.categories, "colour with control", judge(look(picture), scene).colours)
    dice = random.Random(SEED)
    for _, follows, _ in _steered(draw, [world.loosened(scene, dice) for scene in scenes]):
        _add(result.categories, "edges off the grid", follows)
    return result


def _steered(
    draw: Drawer, scenes: list[world.Scene]
) -> Iterator[tuple[world.Scene, bool, Image.Image]]:
    """Scene, whether its edges were followed, and what was drawn."""
    dice = random.Random(SEED)
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        given = [canny(world.draw(scene)) for scene in part]
        prompts = [captions.write(scene, dice, vague=0, loose=0) for scene in part]
        for scene, edges, picture in zip(part, given, draw(prompts, given), strict=True):
            yield scene, agreement(canny(picture), edges) >= EDGES_FOLLOWED, picture


def _start(name: str, models: list[torch.nn.Module], folder: Path, draw: Drawer) -> Score:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    times: list[float] = []
    for _ in range(4):
        begun = time.perf_counter()
        draw([EXAMPLE], [])
        times.append(time.perf_counter() - begun)
    return Score(
        name=name,
        parameters=parameters(*models),
        megabytes=round(size / 1e6, 2),
        steps=SETTINGS[name].steps,
        seconds_per_picture=round(statistics.median(times[1:]), 3),
    )


def _add(tally: dict[str, Count], category: str, right: bool) -> None:
    tally.setdefault(category, Count()).add(right)
