"""How often a miniature draws what it was asked for, judged by rule.

Prompts come from scenes whose combination was never trained on, in the same wordings as in
training. Everything runs through the exported folders and the ordinary pipelines.
"""

import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from PIL import Image

from backends.miniatures.defaults import EXAMPLE, FAMILIES, SETTINGS
from backends.miniatures.training.evaluation.pipelines import Drawer, drawer
from backends.miniatures.training.loop.export import parameters
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.miniatures.world.adherence import Verdict, judge
from backends.miniatures.world.edges import agreement, canny
from backends.miniatures.world.recognition import look
from backends.paths import MINIATURES

BATCH: Final = 16
"""Pictures drawn together, for the verdicts; times are of single ones."""
SEED: Final = 1
EDGES_FOLLOWED: Final = 0.9
"""F1 (within two pixels) from which the drawn edges count as following the given ones."""


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
    """A miniature's measured figures; `seconds_per_picture` is for one picture at a time.

    `clip_score` is the mean of its pictures' with their prompts, None without a miniature CLIP.
    """

    name: str
    parameters: int
    megabytes: float
    steps: int
    seconds_per_picture: float
    clip_score: float | None = None
    categories: dict[str, Count] = field(default_factory=dict[str, Count])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def score(name: str, count: int) -> Score:
    """Draw `count` pictures per kind of scene and judge them; `clip` judges the world's own."""
    if name == "canny":
        return _score_control(count)
    if name == "clip":
        return _score_clip(count)
    draw, models = drawer(name)
    result = _start(name, parameters(*models), draw)
    tally, alike = result.categories, list[float]()
    for case in _judged(draw, count, "single"):
        _add(tally, "single object", case.verdict.single_object)
        _add(tally, "colour", case.verdict.colours)
        _add(tally, "background", case.verdict.background)
        if case.full and case.scene.position is not None:
            _add(tally, "position", case.verdict.position)
        alike.append(case.clip_score)
    for case in _judged(draw, count, "pair"):
        _add(tally, "two objects", case.verdict.two_objects)
        _add(tally, "attribute binding", case.verdict.binding)
        alike.append(case.clip_score)
    for case in _judged(draw, count, "group"):
        _add(tally, "number", case.verdict.counted)
        alike.append(case.clip_score)
    for case in _judged(draw, count, "textured"):
        _add(tally, "textured", case.verdict.textured)
        alike.append(case.clip_score)
    for case in _judged(draw, count, "outlined"):
        _add(tally, "outlined", case.verdict.outlined)
        alike.append(case.clip_score)
    result.clip_score = round(statistics.mean(alike), 3)
    if name == "diffusion" and (MINIATURES / "canny").exists():
        tally.update(_score_control(count).categories)
    return result


def score_all(count: int) -> Iterator[Score]:
    """Every family that has been trained, one after the other, each as soon as it is done."""
    return (score(name, count) for name in FAMILIES if (MINIATURES / name).is_dir())


def held_out_scenes(count: int, kind: str) -> list[world.Scene]:
    """The scenes of one of `world.KINDS` that every model is scored on."""
    rng = random.Random(SEED)
    return [world.sample(rng, kind=kind, held_out_only=True) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class _Case:
    """One drawn picture: its scene, whether its caption named everything, and how it fares."""

    scene: world.Scene
    full: bool
    verdict: Verdict
    clip_score: float


def _prompts(scenes: list[world.Scene]) -> list[str]:
    """A caption for each; every other one names everything."""
    rng = random.Random(SEED)
    return [
        captions.write(scene, rng, vague=0, loose=0, full=index % 2 == 0)
        for index, scene in enumerate(scenes)
    ]


def _judged(draw: Drawer, count: int, kind: str) -> Iterator[_Case]:
    from backends.miniatures.training.models.clip import judge as clip

    scenes = held_out_scenes(count, kind)
    prompts = _prompts(scenes)
    for start in range(0, count, BATCH):
        asked = prompts[start : start + BATCH]
        drawn = draw(asked, [])
        alike = clip().scores(drawn, asked).tolist()
        for index, (picture, likeness) in enumerate(zip(drawn, alike, strict=True), start):
            scene = scenes[index]
            yield _Case(scene, index % 2 == 0, judge(look(picture), scene), likeness)


def _score_clip(count: int) -> Score:
    """How well captions are told apart: among `count` others, and from their own neighbour."""
    from backends.miniatures.training.models.clip import judge as clip
    from backends.miniatures.training.models.clip import neighbour

    rng = random.Random(SEED)
    scenes = held_out_scenes(count, "pair")
    pictures, sentences = [world.draw(scene) for scene in scenes], _prompts(scenes)
    others = _prompts([neighbour(scene, rng) for scene in scenes])
    size = _start("clip", parameters(clip()), lambda prompts, _: _looked_at(prompts))
    own = clip().cosines(pictures, sentences)
    for index, row in enumerate(own):
        _add(size.categories, f"found among {count}", int(row.argmax()) == index)
    near = clip().cosines(pictures, others).diagonal()
    for right, wrong in zip(own.diagonal().tolist(), near.tolist(), strict=True):
        _add(size.categories, "told from a neighbour", right > wrong)
    size.clip_score = round(float(clip().scores(pictures, sentences).mean()), 3)
    return size


def _looked_at(prompts: list[str]) -> list[Image.Image]:
    from backends.miniatures.training.models.clip import judge as clip

    blank = Image.new("RGB", (world.SIDE, world.SIDE))
    clip().scores([blank] * len(prompts), prompts)
    return []


def _score_control(count: int) -> Score:
    draw, models = drawer("canny")
    example = canny(world.draw(held_out_scenes(1, "pair")[0]))
    result = _start("canny", parameters(*models), lambda p, _: draw(p, [example] * len(p)))
    half = count // 2
    scenes = held_out_scenes(half, "single") + held_out_scenes(count - half, "pair")
    for scene, follows, picture in _steered(draw, scenes):
        _add(result.categories, "edges", follows)
        _add(result.categories, "colour with control", judge(look(picture), scene).colours)
    rng = random.Random(SEED)
    for _, follows, _ in _steered(draw, [world.loosened(scene, rng) for scene in scenes]):
        _add(result.categories, "edges off the grid", follows)
    return result


def _steered(
    draw: Drawer, scenes: list[world.Scene]
) -> Iterator[tuple[world.Scene, bool, Image.Image]]:
    """Scene, whether its edges were followed, and what was drawn."""
    rng = random.Random(SEED)
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        given = [canny(world.draw(scene)) for scene in part]
        prompts = [captions.write(scene, rng, vague=0, loose=0) for scene in part]
        for scene, edges, picture in zip(part, given, draw(prompts, given), strict=True):
            yield scene, agreement(canny(picture), edges) >= EDGES_FOLLOWED, picture


def _start(name: str, numbers: int, draw: Drawer) -> Score:
    folders = [MINIATURES / name, MINIATURES / f"{name}_super"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    times: list[float] = []
    for _ in range(4):
        begun = time.perf_counter()
        draw([EXAMPLE], [])
        times.append(time.perf_counter() - begun)
    return Score(
        name=name,
        parameters=numbers,
        megabytes=round(sum(path.stat().st_size for path in files) / 1e6, 2),
        steps=SETTINGS[name].steps if name in SETTINGS else 0,
        seconds_per_picture=round(statistics.median(times[1:]), 3),
    )


def _add(tally: dict[str, Count], category: str, right: bool) -> None:
    tally.setdefault(category, Count()).add(right)
