"""Textures of backgrounds: two tones of a colour in a repeating layout of cells.

A cell is what one token stands for. It is plain, or all of the second tone, or plain with a dot of
the second tone; a texture arranges such cells. No two equal patterned cells are neighbours: the
convolutions of a decoder would treat those as one flat area.
"""

from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = NDArray[np.float64]

CELL: Final = 16
"""Side of a cell in pixels."""
CELLS: Final = ("plain", "toned", "dot")
LAYOUTS: Final[dict[str, tuple[tuple[str, str], tuple[str, str]]]] = {
    "striped": (("plain", "toned"), ("plain", "toned")),
    "dotted": (("dot", "plain"), ("plain", "dot")),
    "checkered": (("plain", "toned"), ("toned", "plain")),
}
"""The upper and the lower row of the 2x2 cells that repeat in both directions."""
TEXTURES: Final = tuple(LAYOUTS)
DOT: Final = 5.6
"""Radius of a dot in pixels."""
SUPERSAMPLING: Final = 4
MIN_BRIGHT_LUMINANCE: Final = 150
"""Luminance (Rec. 601, 0 to 255) from which a colour's second tone is darker, not lighter."""


@cache
def cell_coverage(kind: str) -> Floats:
    """Return the second tone's coverage of each pixel of a cell, from 0 to 1: (CELL, CELL)."""
    if kind != "dot":
        return np.full((CELL, CELL), float(kind == "toned"))
    side = CELL * SUPERSAMPLING
    y, x = (np.mgrid[:side, :side] + 0.5) / SUPERSAMPLING - CELL / 2
    blocks = (x**2 + y**2 < DOT**2).reshape(CELL, SUPERSAMPLING, CELL, SUPERSAMPLING)
    return blocks.mean((1, 3), dtype=np.float64)


@cache
def layout(texture: str | None, cells: int) -> NDArray[np.int64]:
    """Return the indices into CELLS for a grid of `cells` by `cells`, an even number; None is
    flat.
    """
    rows = (("plain", "plain"),) * 2 if texture is None else LAYOUTS[texture]
    numbers = np.array([[CELLS.index(kind) for kind in row] for row in rows])
    return np.tile(numbers, (cells // 2, cells // 2))


@cache
def texture_coverage(texture: str | None, side: int) -> Floats:
    """Return the second tone's coverage of each pixel of an empty picture, 0 to 1: (side, side)."""
    stack = np.stack([cell_coverage(kind) for kind in CELLS])
    return stack[layout(texture, side // CELL)].swapaxes(1, 2).reshape(side, side)


def second_tone(colour: Colour) -> Colour:
    """Return a colour's second tone: lighter, or darker if the colour is bright."""
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue >= MIN_BRIGHT_LUMINANCE
    goal, share = (0, 0.22) if bright else (255, 0.4)
    red, green, blue = (round(value + share * (goal - value)) for value in colour)
    return red, green, blue


def blend_tones(colour: Colour, cover: Floats) -> Floats:
    """Blend a colour with its second tone by coverage (h, w): (h, w, 3), from 0 to 255."""
    first, other = np.array(colour, np.float64), np.array(second_tone(colour), np.float64)
    return first + cover[..., None] * (other - first)


def distance_from_tones(colour: Floats, first: Floats, other: Floats) -> Floats:
    """Return the distances of colours (..., 3) from the segment between two tones.

    Anti-aliased edges between the tones lie on that segment.
    """
    along = other - first
    share = ((colour - first) @ along) / max(float(along @ along), 1e-9)
    rest = colour - first - np.clip(share, 0, 1)[..., None] * along
    return np.sqrt(np.einsum("...c,...c->...", rest, rest))
