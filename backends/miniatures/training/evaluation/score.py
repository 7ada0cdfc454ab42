"""Score how often a miniature follows its prompts, judged by rule.

Prompts describe held-out combinations, in the same wordings as in training. Everything runs through
the exported folders and the ordinary pipelines.
"""

import random
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from PIL import Image

from backends.miniatures import world
from backends.miniatures.defaults import EXAMPLE, FAMILIES, SETTINGS
from backends.miniatures.training.evaluation.pipelines import Generate, load_generator
from backends.miniatures.training.loop.export import count_parameters
from backends.miniatures.world import captions
from backends.miniatures.world.adherence import Verdict, judge
from backends.miniatures.world.edges import canny, edge_f1
from backends.miniatures.world.recognition import recognize
from backends.paths import MINIATURES

BATCH: Final = 16
"""Pictures generated together for the verdicts; times are of single ones."""
SEED: Final = 1
MIN_EDGE_F1: Final = 0.9
"""F1 (within two pixels) from which a picture counts as following the given edges."""
CATEGORIES: Final = (
    "single object",
    "colour",
    "background",
    "position",
    "two objects",
    "attribute binding",
    "number",
    "textured",
    "outlined",
)
"""The columns of the table, in this order."""


@dataclass(slots=True)
class Count:
    """A number of successes out of a total."""

    passed: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        """Count one more case."""
        self.passed += right
        self.total += 1


@dataclass(slots=True)
class Score:
    """A miniature's measured figures; `seconds_per_picture` is for one picture at a time.

    `clip_score` is the mean over its pictures and their prompts, None without a miniature CLIP.
    """

    name: str
    parameters: int
    megabytes: float
    steps: int
    seconds_per_picture: float
    clip_score: float | None = None
    categories: dict[str, Count] = field(default_factory=dict[str, Count])

    def as_dict(self) -> dict[str, Any]:
        """Return the score for JSON."""
        return asdict(self)


def score(name: str, count: int) -> Score:
    """Generate `count` pictures per kind of scene and judge them; `clip` scores rendered scenes."""
    if name == "canny":
        return _score_control(count)
    if name == "clip":
        return _score_clip(count)
    draw, models = load_generator(name)
    result = _measure(name, count_parameters(*models), draw)
    categories, clip_scores = result.categories, list[float]()
    for case in _generate_and_judge(draw, count, "single"):
        _count(categories, "single object", case.verdict.single_object)
        _count(categories, "colour", case.verdict.colours)
        _count(categories, "background", case.verdict.background)
        if case.full and case.scene.position is not None:
            _count(categories, "position", case.verdict.position)
        clip_scores.append(case.clip_score)
    for case in _generate_and_judge(draw, count, "pair"):
        _count(categories, "two objects", case.verdict.two_objects)
        _count(categories, "attribute binding", case.verdict.binding)
        clip_scores.append(case.clip_score)
    for case in _generate_and_judge(draw, count, "group"):
        _count(categories, "number", case.verdict.counted)
        clip_scores.append(case.clip_score)
    for case in _generate_and_judge(draw, count, "textured"):
        _count(categories, "textured", case.verdict.textured)
        clip_scores.append(case.clip_score)
    for case in _generate_and_judge(draw, count, "outlined"):
        _count(categories, "outlined", case.verdict.outlined)
        clip_scores.append(case.clip_score)
    result.clip_score = round(statistics.mean(clip_scores), 3)
    if name == "diffusion" and (MINIATURES / "canny").exists():
        categories.update(_score_control(count).categories)
    return result


def score_all(count: int) -> Iterator[Score]:
    """Yield the score of every trained family as soon as it is done."""
    return (score(name, count) for name in FAMILIES if (MINIATURES / name).is_dir())


def held_out_scenes(count: int, kind: str) -> list[world.Scene]:
    """Return the scenes of one of `world.KINDS` that every model is scored on."""
    rng = random.Random(SEED)
    return [world.sample(rng, kind=kind, held_out_only=True) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class _JudgedPicture:
    """A generated picture's scene, whether its caption was full, its verdict and its CLIPScore."""

    scene: world.Scene
    full: bool
    verdict: Verdict
    clip_score: float


def _prompts(scenes: list[world.Scene]) -> list[str]:
    """Return a caption for each scene; every other one is full."""
    rng = random.Random(SEED)
    return [
        captions.write(scene, rng, vague=0, loose=0, full=index % 2 == 0)
        for index, scene in enumerate(scenes)
    ]


def _generate_and_judge(draw: Generate, count: int, kind: str) -> Iterator[_JudgedPicture]:
    """Yield the verdict on `count` pictures of held-out scenes of one kind."""
    from backends.miniatures.training.models.clip import load_scorer

    scenes = held_out_scenes(count, kind)
    prompts = _prompts(scenes)
    for start in range(0, count, BATCH):
        batch = prompts[start : start + BATCH]
        pictures = draw(batch, [])
        clip_scores = load_scorer().scores(pictures, batch).tolist()
        for index, (picture, clip_score) in enumerate(
            zip(pictures, clip_scores, strict=True), start
        ):
            scene = scenes[index]
            yield _JudgedPicture(
                scene, index % 2 == 0, judge(recognize(picture), scene), clip_score
            )


def _score_clip(count: int) -> Score:
    """Score CLIP: retrieval among `count` captions, and preference over a neighbour's caption."""
    from backends.miniatures.training.models.clip import load_scorer, neighbour

    rng = random.Random(SEED)
    scenes = held_out_scenes(count, "pair")
    pictures, sentences = [world.draw(scene) for scene in scenes], _prompts(scenes)
    others = _prompts([neighbour(scene, rng) for scene in scenes])
    result = _measure(
        "clip", count_parameters(load_scorer()), lambda prompts, _: _score_blank(prompts)
    )
    cosines = load_scorer().cosines(pictures, sentences)
    for index, row in enumerate(cosines):
        _count(result.categories, f"found among {count}", int(row.argmax()) == index)
    neighbour_cosines = load_scorer().cosines(pictures, others).diagonal()
    for right, wrong in zip(cosines.diagonal().tolist(), neighbour_cosines.tolist(), strict=True):
        _count(result.categories, "told from a neighbour", right > wrong)
    result.clip_score = round(float(load_scorer().scores(pictures, sentences).mean()), 3)
    return result


def _score_blank(prompts: list[str]) -> list[Image.Image]:
    """Score blank pictures, to measure the time."""
    from backends.miniatures.training.models.clip import load_scorer

    blank = Image.new("RGB", (world.SIDE, world.SIDE))
    load_scorer().scores([blank] * len(prompts), prompts)
    return []


def _score_control(count: int) -> Score:
    """Score the ControlNet: edges followed, on and off the grid, and colours."""
    draw, models = load_generator("canny")
    example = canny(world.draw(held_out_scenes(1, "pair")[0]))
    result = _measure("canny", count_parameters(*models), lambda p, _: draw(p, [example] * len(p)))
    half = count // 2
    scenes = held_out_scenes(half, "single") + held_out_scenes(count - half, "pair")
    for scene, follows, picture in _generate_with_edges(draw, scenes):
        _count(result.categories, "edges", follows)
        _count(result.categories, "colour with control", judge(recognize(picture), scene).colours)
    rng = random.Random(SEED)
    for _, follows, _ in _generate_with_edges(draw, [world.jitter(scene, rng) for scene in scenes]):
        _count(result.categories, "edges off the grid", follows)
    return result


def _generate_with_edges(
    draw: Generate, scenes: list[world.Scene]
) -> Iterator[tuple[world.Scene, bool, Image.Image]]:
    """Yield each scene, whether its edges were followed, and the generated picture."""
    rng = random.Random(SEED)
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        given = [canny(world.draw(scene)) for scene in part]
        prompts = [captions.write(scene, rng, vague=0, loose=0) for scene in part]
        for scene, edges, picture in zip(part, given, draw(prompts, given), strict=True):
            yield scene, edge_f1(canny(picture), edges) >= MIN_EDGE_F1, picture


def _measure(name: str, numbers: int, draw: Generate) -> Score:
    """Return a score with the file sizes and the median time of three single pictures."""
    folders = [MINIATURES / name, MINIATURES / f"{name}_super"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    times: list[float] = []
    for _ in range(4):
        started = time.perf_counter()
        draw([EXAMPLE], [])
        times.append(time.perf_counter() - started)
    return Score(
        name=name,
        parameters=numbers,
        megabytes=round(sum(path.stat().st_size for path in files) / 1e6, 2),
        steps=SETTINGS[name].steps if name in SETTINGS else 0,
        seconds_per_picture=round(statistics.median(times[1:]), 3),
    )


def _count(categories: dict[str, Count], category: str, right: bool) -> None:
    """Count one case of a category."""
    categories.setdefault(category, Count()).add(right)


def markdown_table(scores: Iterable[Score]) -> Iterator[str]:
    """Yield a Markdown table, each row as soon as its score is there.

    Shares are of the pictures to which a category applies.
    """
    head = ("family", "parameters", "MB", "steps", "s a picture", *CATEGORIES, "CLIPScore")
    yield _table_line(head)
    yield "|---" * len(head) + "|"
    for score in scores:
        yield _table_line(_table_row(score))


def _table_line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _table_row(score: Score) -> tuple[str, ...]:
    return (
        score.name,
        f"{score.parameters / 1e6:.1f} M",
        f"{score.megabytes:.1f}",
        str(score.steps),
        f"{score.seconds_per_picture:.2f}",
        *(_format_share(score.categories.get(category)) for category in CATEGORIES),
        "" if score.clip_score is None else f"{score.clip_score:.2f}",
    )


def _format_share(count: Count | None) -> str:
    return "" if count is None or not count.total else f"{count.passed / count.total:.0%}"
