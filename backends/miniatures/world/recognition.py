"""Looking at a picture by rule: which things are on it, and on which background.

`look` finds the background, flat or textured, then every connected thing on it; a thing's mask is
cut half-way between the background's colour and its own, so that smoothed edges do not invent
colours. Its shape is the template with the best overlap. No torch, no OpenCV: numpy and Pillow are
enough.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.miniatures.world.scene import COLOURS, SIDE, SIZES
from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp
from backends.miniatures.world.textures import CELL, TEXTURES, Floats, from_tones, pattern, second

Mask: TypeAlias = NDArray[np.bool_]

FRAME: Final = 2
"""Pixels along the border that show nothing but background."""
RIM: Final = CELL
"""Pixels along the border that show most of what a texture repeats."""
TONES: Final = 30.0
"""The least distance between the two tones of a textured background."""
FAR: Final = 60.0
"""No palette colour within this distance (RGB, Euclidean): the colour has no name."""
SEEN: Final = 36.0
"""A pixel this far from the background belongs to something."""
SMALLEST: Final = 40
"""Pixels; anything smaller is a speck, and specks spoil a picture from SPECK pixels on."""
SPECK: Final = 12
OVERLAP: Final = 0.78
"""The least overlap with its template (intersection over union) at which a shape has a name."""
OUTLINES_OVERLAP: Final = 0.62
"""The same for outlined ones, whose strokes are thin: a pixel more or less on both of a stroke's
sides, which a filled shape hardly shows, is this much of it."""

_NAMES: Final = tuple(COLOURS)
_PALETTE: Final[Floats] = np.array(list(COLOURS.values()), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Template:
    """What a thing may look like."""

    shape: str
    outlined: bool = False


_TEMPLATES: Final = (
    *(Template(shape) for shape in SHAPES),
    *(Template(shape, outlined=True) for shape in HOLLOW),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One thing on a picture. `shape` and `colour` are None where nothing known fits."""

    shape: str | None
    colour: str | None
    size: str
    x: float
    y: float
    radius: float
    overlap: float
    outlined: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What a picture shows; `specks` counts bits too small to be a thing."""

    background: str | None
    things: tuple[Found, ...]
    specks: int
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What a background looks like: its texture, its tones, and how it is without things."""

    texture: str | None
    first: Floats
    other: Floats
    empty: Floats

    @property
    def colour(self) -> str | None:
        """Its name; None where no colour of the palette has these tones."""
        name = name_colour(self.first)
        if name is None or self.texture is None:
            return name
        return name if np.linalg.norm(self.other - second(COLOURS[name])) < FAR else None


def name_colour(colour: Floats) -> str | None:
    """The palette's nearest colour, or None if none is near."""
    distances = np.linalg.norm(_PALETTE - colour, axis=1)
    nearest = int(distances.argmin())
    return _NAMES[nearest] if distances[nearest] < FAR else None


def look(picture: Image.Image) -> View:
    """What is on this picture (any size; judged at SIDE x SIDE)."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    ground = _ground(pixels)
    distance = from_tones(pixels, ground.first, ground.other)
    things: list[Found] = []
    specks = 0
    for part in components(distance > SEEN):
        area = int(part.sum())
        if area >= SMALLEST:
            things.append(_identify(pixels, ground.empty, distance, part))
        elif area >= SPECK:
            specks += 1
    return View(ground.colour, tuple(things), specks, ground.texture)


def _ground(pixels: Floats) -> Ground:
    """Textured if that explains what is along the border much better than one colour does."""
    flat: Floats = np.median(pixels[_border(FRAME)], axis=0)
    best, least = Ground(None, flat, flat, np.broadcast_to(flat, pixels.shape)), np.inf
    for texture in TEXTURES:
        cover, rim = pattern(texture, SIDE), _border(RIM)
        first: Floats = np.median(pixels[rim & (cover < 0.05)], axis=0)
        other: Floats = np.median(pixels[rim & (cover > 0.95)], axis=0)
        empty = first + cover[..., None] * (other - first)
        ground = rim & (from_tones(pixels, first, other) < SEEN)  # without things
        if np.linalg.norm(other - first) < TONES or not ground.any():
            continue
        plain, rest = (
            float(np.linalg.norm(pixels[ground] - expected, axis=-1).mean())
            for expected in (np.median(pixels[ground], axis=0), empty[ground])
        )
        if rest < min(0.6 * plain, least):
            best, least = Ground(texture, first, other, empty), rest
    return best


@cache
def _border(width: int) -> Mask:
    border = np.ones((SIDE, SIDE), np.bool_)
    border[width:-width, width:-width] = False
    return border


def components(mask: Mask) -> list[Mask]:
    """The connected parts (8 neighbours) of a mask, largest first.

    Every pixel starts with its own number; the largest number spreads through its part.
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


def _eroded(mask: Mask) -> Mask:
    inner = np.pad(mask, 1)
    return mask & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]


def _identify(pixels: Floats, empty: Floats, distance: Floats, part: Mask) -> Found:
    inner = _eroded(_eroded(part))
    if not inner.any():
        inner = part & (distance >= np.quantile(distance[part], 0.7))
    colour: Floats = np.median(pixels[inner], axis=0)
    # How much of each pixel the thing covers: 0 is background, 1 is the thing's own colour.
    direction = colour - empty
    lengths = np.maximum((direction**2).sum(axis=2), 1.0)
    share = ((pixels - empty) * direction).sum(axis=2) / lengths
    cover = np.where(_grown(part), np.clip(share, 0.0, 1.0), 0.0)
    columns, rows = cover.max(axis=0), cover.max(axis=1)
    x, y = _middle(columns), _middle(rows)
    width, height = float(columns.sum()), float(rows.sum())
    best, best_overlap, best_radius = Template(""), 0.0, width / 2
    for template in _TEMPLATES:
        wide, high = _extent(template.shape)
        radius = (width / wide + height / high) / 2
        overlap = _overlap(cover, template, x, y, radius)
        if overlap > best_overlap:
            best, best_overlap, best_radius = template, overlap, radius
    size = min(SIZES, key=lambda name: abs(SIZES[name] - best_radius))
    return Found(
        best.shape if best_overlap >= (OUTLINES_OVERLAP if best.outlined else OVERLAP) else None,
        name_colour(colour),
        size,
        x,
        y,
        best_radius,
        best_overlap,
        best.outlined,
    )


def _grown(mask: Mask) -> Mask:
    outer = np.pad(mask, 1)
    return mask | outer[:-2, 1:-1] | outer[2:, 1:-1] | outer[1:-1, :-2] | outer[1:-1, 2:]


def _middle(profile: Floats) -> float:
    """Where a profile's box is centred, to a fraction of a pixel."""
    inside = np.flatnonzero(profile > 0.5)
    if not len(inside):
        return float(np.argmax(profile)) + 0.5
    first, last = int(inside[0]), int(inside[-1])
    low = first - (float(profile[first - 1]) if first > 0 else 0.0)
    high = last + 1 + (float(profile[last + 1]) if last + 1 < len(profile) else 0.0)
    return (low + 1 - float(profile[first]) + high - 1 + float(profile[last])) / 2


@cache
def _extent(shape: str) -> tuple[float, float]:
    """Width and height of a shape of radius 1, measured as `_identify` measures."""
    cover = np.asarray(stamp(shape, 40.0, 40.0, 30.0)[0], dtype=np.float64) / 255
    return float(cover.max(axis=0).sum()) / 30, float(cover.max(axis=1).sum()) / 30


@cache
def _offset(shape: str) -> tuple[float, float]:
    """From a shape's centre to the middle of its box, for radius 1."""
    coverage, (left, top) = stamp(shape, 40.0, 40.0, 30.0)
    cover = np.asarray(coverage, dtype=np.float64) / 255
    x, y = _middle(cover.max(axis=0)) + left, _middle(cover.max(axis=1)) + top
    return (x - 40) / 30, (y - 40) / 30


def _overlap(cover: Floats, kind: Template, x: float, y: float, radius: float) -> float:
    """Soft intersection over union with the template of that box."""
    dx, dy = _offset(kind.shape)
    place = x - dx * radius, y - dy * radius, radius
    coverage, (left, top) = stamp(kind.shape, *place, outlined=kind.outlined)
    template = np.zeros_like(cover)
    patch = np.asarray(coverage, dtype=np.float64) / 255
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + patch.shape[0], SIDE), min(left + patch.shape[1], SIDE)
    template[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    return float(np.minimum(cover, template).sum() / np.maximum(cover, template).sum())
