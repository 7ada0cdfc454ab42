"""The distinct pieces that a grid of 16x16 pixel cells cuts from all possible things.

Things are centred on a grid and never share a cell, so all shapes in all sizes at all places
consist of a few hundred pieces. Outlined things, which are large and lie on the cell grid, add a
few dozen pieces: strokes.
"""

from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.miniatures import world
from backends.miniatures.world.scene import GRID, TOKEN, Thing
from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp

MIN_DIFFERENCE: Final = 0.02
"""Mean difference in coverage from which two pieces are distinct, as a share of a cell."""
MIN_STROKE_DIFFERENCE: Final = 0.016
"""The same for strokes: on thin lines a smaller difference is visible."""
MIN_COVERAGE: Final = 0.01
"""Mean coverage below which a cell is empty."""

Pieces: TypeAlias = NDArray[np.float32]
"""Coverage by a thing, from 0 to 1: (n, TOKEN, TOKEN)."""


@cache
def filled_pieces() -> Pieces:
    """Return the pieces of filled things, the first a full cell."""
    found, shifts = np.ones((1, TOKEN, TOKEN), np.float32), range(0, TOKEN, GRID)
    for shape in SHAPES:
        for size in world.SIZES:
            for place in ((x, y) for x in shifts for y in shifts):
                found = _add_distinct(found, _render_cells(shape, size, *place), MIN_DIFFERENCE)
    return found


@cache
def stroke_pieces() -> Pieces:
    """Return the pieces that only outlined things have."""
    found = filled_pieces()
    for shape in HOLLOW:
        found = _add_distinct(
            found, _render_cells(shape, "large", 0, 0, outlined=True), MIN_STROKE_DIFFERENCE
        )
    return found[len(filled_pieces()) :]


@cache
def nearest_filled() -> NDArray[np.int64]:
    """Return for each stroke the index of the most similar filled piece."""
    return np.array(
        [np.abs(filled_pieces() - stroke).mean((1, 2)).argmin() for stroke in stroke_pieces()]
    )


def _add_distinct(found: Pieces, cut: Pieces, alike: float) -> Pieces:
    """Append those cells of a thing that differ from all pieces found so far."""
    for piece in cut.reshape(-1, TOKEN, TOKEN):
        if piece.mean() >= MIN_COVERAGE and np.abs(found - piece).mean((1, 2)).min() >= alike:
            found = np.concatenate([found, piece[None]])
    return found


@cache
def _render_cells(shape: str, size: str, x: int, y: int, *, outlined: bool = False) -> Pieces:
    """Render a thing in cells (2n, 2n, TOKEN, TOKEN), its centre (x, y) pixels from the middle
    corner.
    """
    radius = world.SIZES[size]
    around = int(radius + 1 + max(x, y)) // TOKEN + 1
    side, middle = 2 * around * TOKEN, around * TOKEN
    coverage, corner = stamp(shape, middle + x, middle + y, radius, outlined=outlined)
    canvas = Image.new("L", (side, side))
    canvas.paste(coverage, corner)
    cells = (np.asarray(canvas) / 255).astype(np.float32)
    return cells.reshape(2 * around, TOKEN, 2 * around, TOKEN).swapaxes(1, 2)


def piece_numbers(thing: Thing) -> NDArray[np.int64]:
    """Return the piece number of each cell of a thing, -1 where it is empty: (2n, 2n).

    Strokes are numbered after the filled pieces.
    """
    shift = int(thing.x) % TOKEN, int(thing.y) % TOKEN
    return _piece_numbers(thing.shape, thing.size, *shift, outlined=thing.outlined)


@cache
def _piece_numbers(shape: str, size: str, x: int, y: int, *, outlined: bool) -> NDArray[np.int64]:
    cells = _render_cells(shape, size, x, y, outlined=outlined)
    known = np.concatenate([filled_pieces(), stroke_pieces()]) if outlined else filled_pieces()
    numbers = np.full(cells.shape[:2], -1)
    for place in zip(*np.nonzero(cells.mean((2, 3)) >= MIN_COVERAGE), strict=True):
        numbers[place] = np.abs(known - cells[place]).mean((1, 2)).argmin()
    return numbers
