"""Textures of backgrounds: two tones of a colour, in cells that repeat.

A cell is what one token stands for. It is plain, or all of the second tone, or plain with a dot of
the second tone; a texture lays such cells out. No two like cells with a pattern in them lie side by
side: to the convolutions of a decoder those would be one flat area.
"""

from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = NDArray[np.float64]

CELL: Final = 16
"""Pixels on a side of a cell."""
CELLS: Final = ("plain", "toned", "dot")
LAYOUTS: Final[dict[str, tuple[tuple[str, str], tuple[str, str]]]] = {
    "striped": (("plain", "toned"), ("plain", "toned")),
    "dotted": (("dot", "plain"), ("plain", "dot")),
    "checkered": (("plain", "toned"), ("toned", "plain")),
}
"""The upper and the lower row of two by two cells, which repeat in both directions."""
TEXTURES: Final = tuple(LAYOUTS)
DOT: Final = 5.6
"""A dot's radius in pixels."""
SUPERSAMPLING: Final = 4
BRIGHT: Final = 150
"""Luminance (Rec. 601, 0 to 255) from which a colour's second tone is a darker one."""


@cache
def cell(kind: str) -> Floats:
    """How much of each pixel of a cell the second tone covers, from 0 to 1: (CELL, CELL)."""
    if kind != "dot":
        return np.full((CELL, CELL), float(kind == "toned"))
    side = CELL * SUPERSAMPLING
    y, x = (np.mgrid[:side, :side] + 0.5) / SUPERSAMPLING - CELL / 2
    blocks = (x**2 + y**2 < DOT**2).reshape(CELL, SUPERSAMPLING, CELL, SUPERSAMPLING)
    return blocks.mean((1, 3), dtype=np.float64)


@cache
def layout(texture: str | None, cells: int) -> NDArray[np.int64]:
    """Which of CELLS lies where on `cells` by `cells`, an even number; None is flat."""
    rows = (("plain", "plain"),) * 2 if texture is None else LAYOUTS[texture]
    numbers = np.array([[CELLS.index(kind) for kind in row] for row in rows])
    return np.tile(numbers, (cells // 2, cells // 2))


@cache
def pattern(texture: str | None, side: int) -> Floats:
    """How much of each pixel of an empty picture the second tone covers: (side, side)."""
    stack = np.stack([cell(kind) for kind in CELLS])
    return stack[layout(texture, side // CELL)].swapaxes(1, 2).reshape(side, side)


def second(colour: Colour) -> Colour:
    """A colour's second tone: lighter, or darker where it is bright itself."""
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue >= BRIGHT
    goal, share = (0, 0.22) if bright else (255, 0.4)
    red, green, blue = (round(value + share * (goal - value)) for value in colour)
    return red, green, blue


def toned(colour: Colour, cover: Floats) -> Floats:
    """A colour and its second tone where that covers it (h, w): (h, w, 3), from 0 to 255."""
    first, other = np.array(colour, np.float64), np.array(second(colour), np.float64)
    return first + cover[..., None] * (other - first)


def from_tones(colour: Floats, first: Floats, other: Floats) -> Floats:
    """How far colours (..., 3) are from the line between two tones: edges' blends lie on it."""
    along = other - first
    share = ((colour - first) @ along) / max(float(along @ along), 1e-9)
    return np.linalg.norm(colour - first - np.clip(share, 0, 1)[..., None] * along, axis=-1)
