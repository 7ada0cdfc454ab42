"""What became of each input, as Midjourney's answer and its pictures tell."""

from collections.abc import Sequence
from dataclasses import replace

from backends.base import Honour, Picture
from backends.midjourney.messages import Sighting
from backends.midjourney.request import Command, words

GRID = 4


def honoured(
    command: Command, grid: Sighting | None, parts: Sequence[Picture]
) -> dict[str, Honour]:
    """Correct what was asked by what came.

    `grid` is None where a person brought it, `parts` is empty where it could not be cut.
    """
    found = dict(command.honoured)
    found["seed"] = _seed(command, grid)
    found["count"] = _count(command.asked.count)
    found["grid"] = _grid(parts)
    if parts:
        found["size"] = _size(found["size"], parts[0])
    if grid is None:
        return found
    if grid.prompt is not None and words(grid.prompt) != words(command.prompt):
        found["prompt"] = Honour(command.prompt, grid.prompt, "prompt changed on the way")
    if grid.mode is not None:
        asked = found["speed"].asked if "speed" in found else None
        other = asked is not None and not grid.mode.startswith(str(asked))
        note = f"speed {grid.mode} instead of {asked}" if other else ""
        found["speed"] = Honour(asked, grid.mode, note)
    return found


def _seed(command: Command, grid: Sighting | None) -> Honour:
    asked = command.asked.seed
    if grid is None:
        return Honour(asked, None, "seed unknown: the grid was brought by hand")
    if grid.seed is None:
        return Honour(asked, None, "seed unknown: Midjourney's answer does not repeat it")
    return Honour(asked, grid.seed)


def _count(asked: int) -> Honour:
    note = "" if asked == GRID else f"{GRID} instead of {asked} pictures: Midjourney draws grids"
    return Honour(asked, GRID, note)


def _grid(parts: Sequence[Picture]) -> Honour:
    if not parts:
        return Honour(None, "grid", "the grid as it came: it could not be cut")
    note = "first the grid as it came, then its four pictures, cut without loss and kept as PNG"
    return Honour(None, "grid and parts", note)


def _size(size: Honour, part: Picture) -> Honour:
    made = f"{part.width}x{part.height}"
    wanted = size.asked or size.used
    return replace(size, used=made, note="" if made == wanted else f"{made} instead of {wanted}")
