"""The eight shapes: their polygons, and their anti-aliased masks, filled or outlined."""

import math
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw

SUPERSAMPLING: Final = 4
"""Subpixels per pixel along each axis."""

Point: TypeAlias = tuple[float, float]
Loop: TypeAlias = tuple[Point, ...]
"""A closed polygon, its points in units of the radius."""

SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond")
HOLLOW: Final = tuple(shape for shape in SHAPES if shape != "ring")
"""Shapes that may be outlined; a ring is an outline already."""
STROKE: Final = 0.24
"""Width of an outline in radii, measured inwards from the shape's edge."""


def outline(shape: str) -> tuple[Loop, ...]:
    """Return a shape's polygons in the box from -1 to 1: the first is filled, a second one is a
    hole.
    """
    return _OUTLINES[shape]


def _regular(corners: int, start: float, radius: float = 1.0) -> Loop:
    """Return the corners of a regular polygon."""
    step = math.tau / corners
    angles = [start + step * corner for corner in range(corners)]
    return tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles)


def _star() -> Loop:
    """Return a five-pointed star, its box centred."""
    tips, dents = _regular(5, -math.pi / 2), _regular(5, -math.pi / 2 + math.pi / 5, 0.42)
    # Centre the box, not the circle: a star's lower tips do not reach as far as its top one.
    shift = (1 - math.cos(math.pi / 5)) / 2
    loop = [point for pair in zip(tips, dents, strict=True) for point in pair]
    return tuple((x * 1.04, (y + shift) * 1.04) for x, y in loop)


def _heart() -> Loop:
    """Return the heart curve in 72 steps, scaled to the box."""
    points: list[Point] = []
    for step in range(72):
        t = math.tau * step / 72
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16, -(y + 2.5) / 16))
    return tuple(points)


def _cross(arm: float = 0.34) -> Loop:
    """Return a cross whose arms have this half width."""
    quarter = ((-arm, -1.0), (arm, -1.0), (arm, -arm))
    loop: list[Point] = []
    for turn in range(4):
        for x, y in quarter:
            for _ in range(turn):
                x, y = -y, x
            loop.append((x, y))
    return tuple(loop)


_OUTLINES: Final[dict[str, tuple[Loop, ...]]] = {
    "circle": (_regular(96, 0.0, 0.96),),
    "square": (((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)),),
    "triangle": (((0.0, -0.92), (1.0, 0.86), (-1.0, 0.86)),),
    "star": (_star(),),
    "heart": (_heart(),),
    "ring": (_regular(96, 0.0), _regular(96, 0.0, 0.56)),
    "cross": (_cross(),),
    "diamond": (((0.0, -1.0), (0.78, 0.0), (0.0, 1.0), (-0.78, 0.0)),),
}


def stamp(
    shape: str, x: float, y: float, radius: float, *, outlined: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """Return a shape's coverage (mode L, anti-aliased) and the pixel of its top left corner."""
    left, top = math.floor(x - radius) - 2, math.floor(y - radius) - 2
    side = math.ceil(2 * radius) + 5
    coverage = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    edge = Image.new("L", coverage.size)
    pen, brush = ImageDraw.Draw(coverage), ImageDraw.Draw(edge)
    stroke = round(2 * STROKE * radius * SUPERSAMPLING)
    for index, loop in enumerate(outline(shape)):
        corners = [
            # PIL's pixel n covers n to n + 1 and its corners lie at pixel centres, hence the half.
            (
                (x - left + px * radius) * SUPERSAMPLING - 0.5,
                (y - top + py * radius) * SUPERSAMPLING - 0.5,
            )
            for px, py in loop
        ]
        pen.polygon(corners, fill=0 if index else 255)
        if outlined:  # half of this line lies inside; past its start, so that the ends join
            brush.line([*corners, *corners[:2]], fill=255, width=stroke, joint="curve")
    if outlined:
        coverage = ImageChops.darker(coverage, edge)
    return coverage.reduce(SUPERSAMPLING), (left, top)
