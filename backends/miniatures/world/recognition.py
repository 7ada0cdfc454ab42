"""Recognize by rule which things a picture shows, and on which background.

`recognize` finds the background, flat or textured, then every connected component on it. A thing's
mask is cut half-way between the background's colour and its own, so that anti-aliased edges add no
colours. Its shape is the template with the highest overlap. Needs numpy and Pillow, neither torch
nor OpenCV.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.miniatures.world.scene import COLOURS, SIDE, SIZES
from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp
from backends.miniatures.world.textures import (
    CELL,
    TEXTURES,
    Floats,
    distance_from_tones,
    second_tone,
    texture_coverage,
)

Mask: TypeAlias = NDArray[np.bool_]

FRAME: Final = 2
"""Width in pixels of the border that shows only background."""
RIM: Final = CELL
"""Width in pixels of the border from which a texture's tones are measured."""
MIN_TONE_DISTANCE: Final = 30.0
"""Smallest distance (RGB, Euclidean) between the two tones of a textured background."""
MAX_COLOUR_DISTANCE: Final = 60.0
"""Largest distance (RGB, Euclidean) to a palette colour at which a colour still has its name."""
MIN_FOREGROUND_DISTANCE: Final = 36.0
"""Distance (RGB, Euclidean) from the background from which a pixel belongs to a thing."""
MIN_AREA: Final = 40
"""Pixels of the smallest thing; a smaller component is a speck."""
MIN_SPECK_AREA: Final = 12
"""Pixels from which a speck counts as a flaw of the picture."""
MIN_OVERLAP: Final = 0.78
"""Smallest intersection over union with its template at which a shape is named."""
MIN_OUTLINE_OVERLAP: Final = 0.62
"""The same for outlined shapes. Their strokes are thin: one pixel more or less on both sides of
a stroke, which hardly changes a filled shape, costs this much overlap."""

AREA_SLACK: Final = 1.2
"""Factor on a template's estimated area that covers the rounding of strokes to subpixels."""

_NAMES: Final = tuple(COLOURS)
_PALETTE: Final[Floats] = np.array(list(COLOURS.values()), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Template:
    """A shape to compare with, filled or outlined."""

    shape: str
    outlined: bool = False


_TEMPLATES: Final = (
    *(Template(shape) for shape in SHAPES),
    *(Template(shape, outlined=True) for shape in HOLLOW),
)


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing on a picture; `shape` and `colour` are None where nothing known fits.

    Position and radius are in pixels at SIDE x SIDE, `overlap` is the intersection over union with
    the template.
    """

    shape: str | None
    colour: str | None
    size: str
    x: float
    y: float
    radius: float
    overlap: float
    outlined: bool = False


@dataclass(frozen=True, slots=True)
class Recognition:
    """The contents of a picture; `specks` counts components too small to be a thing."""

    background: str | None
    things: tuple[Detection, ...]
    specks: int
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Background:
    """A background: its texture, its two tones (3,), and its picture without things (SIDE,
    SIDE, 3).
    """

    texture: str | None
    first: Floats
    other: Floats
    empty: Floats

    @property
    def colour(self) -> str | None:
        """Name of the colour; None if no palette colour has these tones."""
        name = name_colour(self.first)
        if name is None or self.texture is None:
            return name
        return (
            name
            if np.linalg.norm(self.other - second_tone(COLOURS[name])) < MAX_COLOUR_DISTANCE
            else None
        )


def name_colour(colour: Floats) -> str | None:
    """Return the palette's nearest colour, or None if none is near."""
    distances = np.linalg.norm(_PALETTE - colour, axis=1)
    nearest = int(distances.argmin())
    return _NAMES[nearest] if distances[nearest] < MAX_COLOUR_DISTANCE else None


def recognize(picture: Image.Image) -> Recognition:
    """Return what this picture shows (any size; compared at SIDE x SIDE)."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    ground = _find_background(pixels)
    distance = distance_from_tones(pixels, ground.first, ground.other)
    things: list[Detection] = []
    specks = 0
    for part in connected_components(distance > MIN_FOREGROUND_DISTANCE):
        area = int(part.sum())
        if area >= MIN_AREA:
            things.append(_identify(pixels, ground.empty, distance, part))
        elif area >= MIN_SPECK_AREA:
            specks += 1
    return Recognition(ground.colour, tuple(things), specks, ground.texture)


def _find_background(pixels: Floats) -> Background:
    """Return the background: textured if that explains the border much better than one flat
    colour.
    """
    flat: Floats = np.median(pixels[_border_mask(FRAME)], axis=0)
    best, least = Background(None, flat, flat, np.broadcast_to(flat, pixels.shape)), np.inf
    border = _border_mask(RIM)
    rim = pixels[border]
    for texture in TEXTURES:
        coverage = texture_coverage(texture, SIDE)
        cover = coverage[border]
        first: Floats = np.median(rim[cover < 0.05], axis=0)
        other: Floats = np.median(rim[cover > 0.95], axis=0)
        # The border without things that lie on it.
        ground = distance_from_tones(rim, first, other) < MIN_FOREGROUND_DISTANCE
        if np.linalg.norm(other - first) < MIN_TONE_DISTANCE or not ground.any():
            continue
        empty = first + cover[ground, None] * (other - first)
        plain, rest = (
            float(np.linalg.norm(rim[ground] - expected, axis=-1).mean())
            for expected in (np.median(rim[ground], axis=0), empty)
        )
        if rest < min(0.6 * plain, least):
            whole = first + coverage[..., None] * (other - first)
            best, least = Background(texture, first, other, whole), rest
    return best


@cache
def _border_mask(width: int) -> Mask:
    """Return the mask of a border of this width in pixels."""
    border = np.ones((SIDE, SIDE), np.bool_)
    border[width:-width, width:-width] = False
    return border


def connected_components(mask: Mask) -> list[Mask]:
    """Return the connected components (8 neighbours) of a mask, largest first.

    Every pixel starts with its own number; the largest number spreads through its component.
    """
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        spread = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        # Jump along what is already known: a part of any length is done in a few rounds.
        flat = np.concatenate([[0], spread.ravel()])
        spread = np.where(mask, np.maximum(spread, flat[spread]), 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    numbers, counts = np.unique(labels[labels > 0], return_counts=True)
    return [labels == number for number in numbers[np.argsort(-counts)]]


def _erode(mask: Mask) -> Mask:
    """Remove the pixels of a mask that touch its outside along an axis."""
    inner = np.pad(mask, 1)
    return mask & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]


def _identify(pixels: Floats, empty: Floats, distance: Floats, part: Mask) -> Detection:
    """Measure colour, place and radius of a component, and find the template with the highest
    overlap.
    """
    inner = _erode(_erode(part))
    if not inner.any():
        inner = part & (distance >= np.quantile(distance[part], 0.7))
    colour: Floats = np.median(pixels[inner], axis=0)
    # How much of each pixel the thing covers: 0 is background, 1 is the thing's own colour.
    direction = colour - empty
    lengths = np.maximum((direction**2).sum(axis=2), 1.0)
    share = ((pixels - empty) * direction).sum(axis=2) / lengths
    cover = np.where(_dilate(part), np.clip(share, 0.0, 1.0), 0.0)
    columns, rows = cover.max(axis=0), cover.max(axis=1)
    x, y = _profile_centre(columns), _profile_centre(rows)
    width, height = float(columns.sum()), float(rows.sum())
    best, best_overlap, best_radius = Template(""), 0.0, width / 2
    area = float(cover.sum())
    for template in _TEMPLATES:
        wide, high = _extent(template.shape)
        radius = (width / wide + height / high) / 2
        # The overlap is at most the ratio of the areas: most outlines need not be rendered.
        if AREA_SLACK * _unit_area(template) * radius**2 <= best_overlap * area:
            continue
        overlap = _overlap(cover, template, x, y, radius)
        if overlap > best_overlap:
            best, best_overlap, best_radius = template, overlap, radius
    size = min(SIZES, key=lambda name: abs(SIZES[name] - best_radius))
    return Detection(
        best.shape
        if best_overlap >= (MIN_OUTLINE_OVERLAP if best.outlined else MIN_OVERLAP)
        else None,
        name_colour(colour),
        size,
        x,
        y,
        best_radius,
        best_overlap,
        best.outlined,
    )


def _dilate(mask: Mask) -> Mask:
    """Add the pixels that touch a mask along an axis."""
    outer = np.pad(mask, 1)
    return mask | outer[:-2, 1:-1] | outer[2:, 1:-1] | outer[1:-1, :-2] | outer[1:-1, 2:]


def _profile_centre(profile: Floats) -> float:
    """Return the centre of a coverage profile, to a fraction of a pixel."""
    inside = np.flatnonzero(profile > 0.5)
    if not len(inside):
        return float(np.argmax(profile)) + 0.5
    first, last = int(inside[0]), int(inside[-1])
    low = first - (float(profile[first - 1]) if first > 0 else 0.0)
    high = last + 1 + (float(profile[last + 1]) if last + 1 < len(profile) else 0.0)
    return (low + 1 - float(profile[first]) + high - 1 + float(profile[last])) / 2


@cache
def _extent(shape: str) -> tuple[float, float]:
    """Return width and height of a shape of radius 1, measured as `_identify` measures."""
    cover = np.asarray(stamp(shape, 40.0, 40.0, 30.0)[0], dtype=np.float64) / 255
    return float(cover.max(axis=0).sum()) / 30, float(cover.max(axis=1).sum()) / 30


@cache
def _unit_area(template: Template) -> float:
    """Return the area of a template of radius 1."""
    coverage, _ = stamp(template.shape, 40.0, 40.0, 30.0, outlined=template.outlined)
    return float(np.asarray(coverage, dtype=np.float64).sum()) / 255 / 30**2


@cache
def _offset(shape: str) -> tuple[float, float]:
    """Return the vector from a shape's centre to the middle of its box, for radius 1."""
    coverage, (left, top) = stamp(shape, 40.0, 40.0, 30.0)
    cover = np.asarray(coverage, dtype=np.float64) / 255
    x, y = _profile_centre(cover.max(axis=0)) + left, _profile_centre(cover.max(axis=1)) + top
    return (x - 40) / 30, (y - 40) / 30


def _overlap(cover: Floats, kind: Template, x: float, y: float, radius: float) -> float:
    """Return the soft intersection over union of a coverage (SIDE, SIDE) with a template placed
    on it.
    """
    dx, dy = _offset(kind.shape)
    place = x - dx * radius, y - dy * radius, radius
    coverage, (left, top) = stamp(kind.shape, *place, outlined=kind.outlined)
    template = np.zeros_like(cover)
    patch = np.asarray(coverage, dtype=np.float64) / 255
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + patch.shape[0], SIDE), min(left + patch.shape[1], SIDE)
    template[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    return float(np.minimum(cover, template).sum() / np.maximum(cover, template).sum())
