"""How a benchmark says what it saw: ratios of one run, each beside its aim."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One ratio; `aim` is the most it should be, None where there is no aim."""

    name: str
    ratio: float
    aim: float | None = None
    detail: str = ""


def show(lines: Iterable[Line]) -> None:
    """Print a line each."""
    for line in lines:
        aim = "" if line.aim is None else f"  (aim ≤ {line.aim:g})"
        print(f"{line.name:58} {line.ratio:6.3f}{aim:14}  {line.detail}", flush=True)
