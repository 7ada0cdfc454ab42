"""Scenes of the synthetic world: shapes, filled or outlined, on flat or textured backgrounds.

A `Scene` determines a picture completely, so that captions can be written from it, pictures
compared with it, and models scored by rule. Needs no torch.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp
from backends.miniatures.world.textures import (
    TEXTURES,
    Colour,
    blend_tones,
    distance_from_tones,
    second_tone,
    texture_coverage,
)

SIDE: Final = 128
"""Pictures are SIDE x SIDE pixels."""

COLOURS: Final[dict[str, Colour]] = {
    "red": (222, 34, 42),
    "orange": (252, 138, 18),
    "yellow": (252, 222, 40),
    "green": (38, 158, 68),
    "cyan": (42, 206, 222),
    "blue": (38, 78, 218),
    "purple": (132, 48, 178),
    "pink": (250, 134, 184),
    "brown": (128, 78, 38),
    "black": (16, 16, 16),
    "grey": (134, 134, 134),
    "white": (255, 255, 255),
}
"""The palette, RGB from 0 to 255."""
SIZES: Final[dict[str, float]] = {"small": 13.0, "medium": 18.5, "large": 25.0}
"""Half the width of a shape's box, in pixels. Two large things fit side by side."""

POSITIONS: Final[dict[str, tuple[int, int]]] = {
    "top left": (-1, -1),
    "top": (0, -1),
    "top right": (1, -1),
    "left": (-1, 0),
    "centre": (0, 0),
    "right": (1, 0),
    "bottom left": (-1, 1),
    "bottom": (0, 1),
    "bottom right": (1, 1),
}
"""Column and row of each named position in a 3x3 grid around the centre."""
CELL: Final = 32.0
"""Distance between neighbouring positions, in pixels."""

GRID: Final = 8
"""Things are centred on multiples of this many pixels, one latent pixel of the autoencoders: a
shape then has nearly the same code at every place, and there are fewer outlines to learn."""
MARGIN: Final = 3
"""Smallest distance of a thing to the border, in pixels."""

TOKEN: Final = 16
"""Side in pixels of the cell that one picture token stands for; no two things share a cell."""

RELATIONS: Final = ("left of", "right of", "above", "below")
INVERSE: Final = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
HELD_OUT_SHARE: Final = 0.1
"""Share of all combinations that is never trained on."""

KINDS: Final = {"single": 0.27, "pair": 0.34, "group": 0.15, "textured": 0.13, "outlined": 0.11}
"""Kinds of scenes and their frequencies: one thing, two in a relation, or up to four alike, all
filled and on a flat background; any of these on a textured background; any of these
outlined."""
NEWEST_KIND: Final = "outlined"
"""The kind that was added to the world last."""
GROUPS: Final = (2, 3, 4)
"""Possible sizes of a group; each thing lies in its own quarter of the picture."""
MIN_CONTRAST: Final = 70.0
"""Smallest distance (RGB, Euclidean) of a thing's colour from both tones of a textured
background."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: its look, and the centre of its box and its radius in pixels from the top left.

    If `outlined`, only a stroke along the edge is drawn.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    outlined: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a picture shows: a single thing, a pair, or a group of things that look alike.

    A pair is stored in reading order: `things[0]` is the left or upper one and `relation` is always
    "left of" or "above", so that two captions of one arrangement share one scene. `position` is the
    named place of a single thing, None at any other place. `texture` is the background's, None if
    flat.
    """

    background: str
    things: tuple[Thing, ...]
    position: str | None = None
    relation: str | None = None
    texture: str | None = None

    @property
    def number(self) -> int:
        """How many things look like the first one: of a group all, otherwise it alone."""
        return 1 if self.relation else len(self.things)

    @property
    def default_background(self) -> str:
        """The background of a caption that names none: white, or grey behind something white."""
        return "grey" if any(thing.colour == "white" for thing in self.things) else "white"


def draw(scene: Scene) -> Image.Image:
    """Render a scene: mode RGB, SIDE x SIDE."""
    canvas = _background_image(scene.background, scene.texture).copy()
    for thing in scene.things:
        place = thing.x, thing.y, thing.radius
        coverage, corner = stamp(thing.shape, *place, outlined=thing.outlined)
        canvas.paste(COLOURS[thing.colour], corner, coverage)
    return canvas


@cache
def _background_image(background: str, texture: str | None) -> Image.Image:
    """Render a background without things."""
    pixels = blend_tones(COLOURS[background], texture_coverage(texture, SIDE))
    return Image.fromarray(pixels.round().astype(np.uint8))


def held_out(scene: Scene) -> bool:
    """Return whether this combination is excluded from all training, so that scores show
    generalization.

    The hash covers what a caption can state about identity, never pixels: shape, colour and
    background of a single thing; both shapes, both colours and the relation of a pair; shape,
    colour and number of a group.
    """
    if len(scene.things) == 1:
        (thing,) = scene.things
        return _held_out("single", thing.shape, thing.colour, scene.background)
    first, second, *_ = scene.things
    if scene.relation is None:
        return _held_out("group", first.shape, first.colour, str(scene.number))
    relation = scene.relation
    return _held_out("pair", first.shape, first.colour, relation, second.shape, second.colour)


@cache
def _held_out(*words: str) -> bool:
    """Return whether the hash of these words lies in the held-out share."""
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return int.from_bytes(digest[:4]) < HELD_OUT_SHARE * 2**32


def _places(radius: float) -> list[int]:
    """Return the grid coordinates where a thing of this radius may be centred, along either
    axis.
    """
    low, high = radius + MARGIN, SIDE - radius - MARGIN
    return [at for at in range(0, SIDE, GRID) if low <= at <= high]


def _single(rng: random.Random) -> Scene:
    """Sample a scene of one thing, four of five at a named position."""
    shape, size = rng.choice(SHAPES), rng.choice(tuple(SIZES))
    colour, radius = rng.choice(tuple(COLOURS)), SIZES[size]
    places = _places(radius)
    position = rng.choice(tuple(POSITIONS)) if rng.random() < 0.8 else None
    if position is None:
        x, y = rng.choices(places, k=2)
    else:
        wanted = (SIDE / 2 + CELL * cell for cell in POSITIONS[position])
        x, y = (
            min(places, key=lambda at: abs(at - goal))
            for goal in (at + rng.choice((-GRID, 0, 0, GRID)) for at in wanted)
        )
    things = (Thing(shape, colour, size, x, y, radius),)
    return Scene(_background(things, rng), things, position=position)


def _pair(rng: random.Random) -> Scene:
    """Sample a scene of two different things, left of or above each other."""
    looks = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    (shape_a, colour_a), (shape_b, colour_b) = rng.sample(looks, 2)
    size_a, size_b = rng.choices(tuple(SIZES), k=2)
    a, b = SIZES[size_a], SIZES[size_b]
    # Along the axis of the relation they lie apart, but not far; across it they are level.
    along_a, along_b = rng.choice(
        [
            (first, second)
            for first in _places(a)
            for second in _places(b)
            if _apart(first + a, second - b) and second - first < a + b + 40
        ]
    )
    level = rng.choice([at for at in _places(max(a, b)) if abs(at - SIDE / 2) < 28])
    relation = rng.choice(("left of", "above"))
    if relation == "left of":
        places = ((along_a, level), (along_b, level))
    else:
        places = ((level, along_a), (level, along_b))
    things = (
        Thing(shape_a, colour_a, size_a, *places[0], a),
        Thing(shape_b, colour_b, size_b, *places[1], b),
    )
    return Scene(_background(things, rng), things, relation=relation)


def _group(rng: random.Random) -> Scene:
    """Sample a scene of up to four things that look alike."""
    shape, size = rng.choice(SHAPES), rng.choice(tuple(SIZES))
    colour, radius = rng.choice(tuple(COLOURS)), SIZES[size]
    places = group_places(radius, rng.choice(GROUPS), rng)
    things = tuple(Thing(shape, colour, size, x, y, radius) for x, y in places)
    return Scene(_background(things, rng), things)


def group_places(radius: float, number: int, rng: random.Random) -> list[tuple[int, int]]:
    """Sample places for `number` (up to 4) things of this radius, each in its own quarter."""
    low = [at for at in _places(radius) if at + radius + 1 < SIDE / 2]
    high = [at for at in _places(radius) if at - radius - 1 >= SIDE / 2]
    quarters = rng.sample([(x, y) for y in (low, high) for x in (low, high)], number)
    return [(rng.choice(xs), rng.choice(ys)) for xs, ys in quarters]


def _apart(end: float, start: float) -> bool:
    """Return whether things that end and start at these coordinates share no token cell."""
    return (end + 1) // TOKEN < (start - 1) // TOKEN


def _background(things: tuple[Thing, ...], rng: random.Random) -> str:
    """Sample a flat background's colour that no thing has, often the default one."""
    taken = {thing.colour for thing in things}
    plain = "grey" if "white" in taken else "white"
    if plain not in taken and rng.random() < 0.4:
        return plain
    return rng.choice([colour for colour in COLOURS if colour not in taken])


def _textured(rng: random.Random) -> Scene:
    """Sample a scene of filled things on a textured background."""
    scene = rng.choices((_single, _pair, _group), (0.45, 0.35, 0.2))[0](rng)
    colours = {thing.colour for thing in scene.things}
    fitting = [
        ground for ground in COLOURS if all(is_distinct(colour, ground) for colour in colours)
    ]
    return replace(scene, background=rng.choice(fitting), texture=rng.choice(TEXTURES))


def _outlined(rng: random.Random) -> Scene:
    """Sample a scene with outlined things: a whole group, or one or both of a pair."""
    make = rng.choices((_single, _pair, _group), (0.45, 0.35, 0.2))[0]
    while True:
        scene = make(rng)
        fit = [index for index, thing in enumerate(scene.things) if _may_be_outlined(thing)]
        if scene.relation is None:
            chosen = fit if len(fit) == len(scene.things) else []
        else:
            chosen = rng.sample(fit, rng.randint(1, len(fit))) if fit else []
        if chosen:
            things = enumerate(scene.things)
            changed = (replace(thing, outlined=index in chosen) for index, thing in things)
            return replace(scene, things=tuple(changed))


def _may_be_outlined(thing: Thing) -> bool:
    """Return whether a thing is large and on the token grid: other outlines would need too many
    pieces.
    """
    aligned = thing.x % TOKEN == 0 and thing.y % TOKEN == 0
    return thing.shape in HOLLOW and thing.size == "large" and aligned


@cache
def is_distinct(colour: str, background: str) -> bool:
    """Return whether a thing of this colour is distinct from both tones of a background."""
    tones = COLOURS[background], second_tone(COLOURS[background])
    found, first, other = (np.array(each, np.float64) for each in (COLOURS[colour], *tones))
    return float(distance_from_tones(found, first, other)) >= MIN_CONTRAST


def jitter(scene: Scene, rng: random.Random) -> Scene:
    """Return the scene with its things moved off the grid and scaled by up to 15 per cent."""
    return replace(scene, things=tuple(_jitter_thing(thing, rng) for thing in scene.things))


def _jitter_thing(thing: Thing, rng: random.Random) -> Thing:
    """Return the thing moved by up to half a grid step and scaled, inside the margins."""
    radius = thing.radius * rng.uniform(0.85, 1.15)
    low, high = radius + MARGIN, SIDE - radius - MARGIN
    x, y = (min(max(at + rng.uniform(-GRID / 2, GRID / 2), low), high) for at in (thing.x, thing.y))
    return replace(thing, x=x, y=y, radius=radius)


def sample(rng: random.Random, *, kind: str | None = None, held_out_only: bool = False) -> Scene:
    """Sample a scene of one of `KINDS` or any; held-out ones only with `held_out_only`."""
    make = {"single": _single, "pair": _pair, "group": _group}
    make |= {"textured": _textured, "outlined": _outlined}
    while True:
        chosen = kind or rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        scene = make[chosen](rng)
        if held_out(scene) == held_out_only:
            return scene
