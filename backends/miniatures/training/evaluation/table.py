"""Scores as one Markdown table: a row for each family, as it stands in the README."""

from collections.abc import Iterable, Iterator
from typing import Final

from backends.miniatures.training.evaluation.score import Count, Score

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


def markdown(scores: Iterable[Score]) -> Iterator[str]:
    """A line for each score as soon as it is there, below a head.

    Shares are of the pictures that could show what is judged.
    """
    head = ("family", "parameters", "MB", "steps", "s a picture", *CATEGORIES, "CLIPScore")
    yield _line(head)
    yield "|---" * len(head) + "|"
    for score in scores:
        yield _line(_row(score))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(score: Score) -> tuple[str, ...]:
    return (
        score.name,
        f"{score.parameters / 1e6:.1f} M",
        f"{score.megabytes:.1f}",
        str(score.steps),
        f"{score.seconds_per_picture:.2f}",
        *(_share(score.categories.get(category)) for category in CATEGORIES),
        "" if score.clip_score is None else f"{score.clip_score:.2f}",
    )


def _share(count: Count | None) -> str:
    return "" if count is None or not count.total else f"{count.passed / count.total:.0%}"
