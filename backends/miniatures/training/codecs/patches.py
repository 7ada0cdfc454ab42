"""What things are made of: the different pieces that cells of 16x16 pixels cut from all of them.

Things are centred on a grid and never share a cell, so all shapes in all sizes at all places are
made of a few hundred pieces. Outlined things, which are large and lie on the cells' own grid, are
made of these, too, and of a few dozen more: their strokes.
"""

from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.miniatures.world import scene
from backends.miniatures.world.scene import GRID, TOKEN, Thing
from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp

ALIKE: Final = 0.02
"""Pieces whose mean coverage differs by less than this share of a cell count as one."""
CLOSER: Final = 0.016
"""The same for strokes: thin as they are, they show where they are off."""
EMPTY: Final = 0.01

Pieces: TypeAlias = NDArray[np.float32]
"""Coverage by a thing, from 0 to 1: (n, TOKEN, TOKEN)."""


@cache
def filled() -> Pieces:
    """The pieces of things that are filled, the first a full cell."""
    found, shifts = np.ones((1, TOKEN, TOKEN), np.float32), range(0, TOKEN, GRID)
    for shape in SHAPES:
        for size in scene.SIZES:
            for place in ((x, y) for x in shifts for y in shifts):
                found = _with(found, _cut(shape, size, *place), ALIKE)
    return found


@cache
def strokes() -> Pieces:
    """The pieces that only outlined things have."""
    found = filled()
    for shape in HOLLOW:
        found = _with(found, _cut(shape, "large", 0, 0, outlined=True), CLOSER)
    return found[len(filled()) :]


@cache
def nearest() -> NDArray[np.int64]:
    """For each stroke the filled piece that looks most like it."""
    return np.array([np.abs(filled() - stroke).mean((1, 2)).argmin() for stroke in strokes()])


def _with(found: Pieces, cut: Pieces, alike: float) -> Pieces:
    """Those found so far, and what of a thing in cells is like none of them."""
    for piece in cut.reshape(-1, TOKEN, TOKEN):
        if piece.mean() >= EMPTY and np.abs(found - piece).mean((1, 2)).min() >= alike:
            found = np.concatenate([found, piece[None]])
    return found


@cache
def _cut(shape: str, size: str, x: int, y: int, *, outlined: bool = False) -> Pieces:
    """A thing in cells: (2n, 2n, TOKEN, TOKEN), its centre (x, y) pixels from the middle corner."""
    radius = scene.SIZES[size]
    around = int(radius + 1 + max(x, y)) // TOKEN + 1
    side, middle = 2 * around * TOKEN, around * TOKEN
    coverage, corner = stamp(shape, middle + x, middle + y, radius, outlined=outlined)
    canvas = Image.new("L", (side, side))
    canvas.paste(coverage, corner)
    cells = (np.asarray(canvas) / 255).astype(np.float32)
    return cells.reshape(2 * around, TOKEN, 2 * around, TOKEN).swapaxes(1, 2)


def spelled(thing: Thing) -> NDArray[np.int64]:
    """The piece's number for each cell of a thing, -1 where it is empty: (2n, 2n).

    Strokes are numbered on from those of filled things.
    """
    shift = int(thing.x) % TOKEN, int(thing.y) % TOKEN
    return _spelled(thing.shape, thing.size, *shift, outlined=thing.outlined)


@cache
def _spelled(shape: str, size: str, x: int, y: int, *, outlined: bool) -> NDArray[np.int64]:
    cells = _cut(shape, size, x, y, outlined=outlined)
    known = np.concatenate([filled(), strokes()]) if outlined else filled()
    numbers = np.full(cells.shape[:2], -1)
    for place in zip(*np.nonzero(cells.mean((2, 3)) >= EMPTY), strict=True):
        numbers[place] = np.abs(known - cells[place]).mean((1, 2)).argmin()
    return numbers
