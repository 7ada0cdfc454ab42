"""The miniatures' world: shapes, filled or outlined, on flat or textured grounds, drawn by rule.

A `Scene` says exactly what a picture shows, so a caption can be written from it, a picture can be
checked against it, and a model can be scored by rule instead of by guess. Nothing here needs torch.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from backends.miniatures.world.shapes import HOLLOW, SHAPES, stamp
from backends.miniatures.world.textures import TEXTURES, Colour, from_tones, pattern, second, toned

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
CELL: Final = 32.0
"""Distance between neighbouring positions, in pixels, from the middle of the picture."""

GRID: Final = 8
"""Things are centred on a grid of this many pixels, one latent pixel of the autoencoders, so that
a shape has nearly the same code wherever it lies, and there are fewer outlines to learn."""
MARGIN: Final = 3

TOKEN: Final = 16
"""A token of the masked miniature stands for a cell of this many pixels; things never share one."""

RELATIONS: Final = ("left of", "right of", "above", "below")
INVERSE: Final = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
HELD_OUT_SHARE: Final = 0.1

KINDS: Final = {"single": 0.27, "pair": 0.34, "group": 0.15, "textured": 0.13, "outlined": 0.11}
"""What a scene holds, and how often: one thing, two in a relation, or up to four alike, all filled
and on a flat background, or any of these on a textured one, or any of these outlined."""
NEW: Final = "outlined"
"""The kind that the world has got last."""
GROUPS: Final = (2, 3, 4)
"""How many things a group may have; each lies in a quarter of the picture of its own."""
CLEAR: Final = 70.0
"""How far a thing's colour is from all that a textured background shows (RGB, Euclidean)."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: what it is, and where its box is centred (pixels from the top left).

    Those that are `outlined` let their background through, but for a stroke along the edge.
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

    A pair is kept in reading order: `things[0]` is the left or upper one and `relation` is always
    "left of" or "above", so that two captions of one arrangement share one scene. `position` is the
    named place of a single thing, or None where it lies just anywhere. `texture` is that of the
    background, None where it is flat.
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
    """The picture of a scene: mode RGB, SIDE x SIDE."""
    canvas = _ground(scene.background, scene.texture).copy()
    for thing in scene.things:
        place = thing.x, thing.y, thing.radius
        coverage, corner = stamp(thing.shape, *place, outlined=thing.outlined)
        canvas.paste(COLOURS[thing.colour], corner, coverage)
    return canvas


@cache
def _ground(background: str, texture: str | None) -> Image.Image:
    pixels = toned(COLOURS[background], pattern(texture, SIDE))
    return Image.fromarray(pixels.round().astype(np.uint8))


def held_out(scene: Scene) -> bool:
    """Whether this combination is kept out of all training, so that scores show generalisation.

    The hash is over what a caption can say about identity, never over pixels: shape, colour and
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
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return int.from_bytes(digest[:4]) < HELD_OUT_SHARE * 2**32


def _places(radius: float) -> list[int]:
    """Where a thing of this radius may be centred, along either axis."""
    low, high = radius + MARGIN, SIDE - radius - MARGIN
    return [at for at in range(0, SIDE, GRID) if low <= at <= high]


def _single(rng: random.Random) -> Scene:
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
    shape, size = rng.choice(SHAPES), rng.choice(tuple(SIZES))
    colour, radius = rng.choice(tuple(COLOURS)), SIZES[size]
    places = spots(radius, rng.choice(GROUPS), rng)
    things = tuple(Thing(shape, colour, size, x, y, radius) for x, y in places)
    return Scene(_background(things, rng), things)


def spots(radius: float, number: int, rng: random.Random) -> list[tuple[int, int]]:
    """Where `number` (up to 4) things of this radius may lie, each in a quarter of its own."""
    low = [at for at in _places(radius) if at + radius + 1 < SIDE / 2]
    high = [at for at in _places(radius) if at - radius - 1 >= SIDE / 2]
    quarters = rng.sample([(x, y) for y in (low, high) for x in (low, high)], number)
    return [(rng.choice(xs), rng.choice(ys)) for xs, ys in quarters]


def _apart(end: float, start: float) -> bool:
    """Whether a thing that ends here and one that starts there leave no cell to share."""
    return (end + 1) // TOKEN < (start - 1) // TOKEN


def _background(things: tuple[Thing, ...], rng: random.Random) -> str:
    taken = {thing.colour for thing in things}
    plain = "grey" if "white" in taken else "white"
    if plain not in taken and rng.random() < 0.4:
        return plain
    return rng.choice([colour for colour in COLOURS if colour not in taken])


def _textured(rng: random.Random) -> Scene:
    scene = rng.choices((_single, _pair, _group), (0.45, 0.35, 0.2))[0](rng)
    colours = {thing.colour for thing in scene.things}
    fitting = [ground for ground in COLOURS if all(clear(colour, ground) for colour in colours)]
    return replace(scene, background=rng.choice(fitting), texture=rng.choice(TEXTURES))


def _outlined(rng: random.Random) -> Scene:
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
    """Large things that lie on the tokens' own grid: else outlines would be of too many pieces."""
    aligned = thing.x % TOKEN == 0 and thing.y % TOKEN == 0
    return thing.shape in HOLLOW and thing.size == "large" and aligned


@cache
def clear(colour: str, background: str) -> bool:
    """Whether a thing of this colour stands out from both tones of a background."""
    tones = COLOURS[background], second(COLOURS[background])
    found, first, other = (np.array(each, np.float64) for each in (COLOURS[colour], *tones))
    return float(from_tones(found, first, other)) >= CLEAR


def loosened(scene: Scene, rng: random.Random) -> Scene:
    """The scene as a hand would place it: off the grid, and somewhat larger or smaller."""
    return replace(scene, things=tuple(_loose(thing, rng) for thing in scene.things))


def _loose(thing: Thing, rng: random.Random) -> Thing:
    radius = thing.radius * rng.uniform(0.85, 1.15)
    low, high = radius + MARGIN, SIDE - radius - MARGIN
    x, y = (min(max(at + rng.uniform(-GRID / 2, GRID / 2), low), high) for at in (thing.x, thing.y))
    return replace(thing, x=x, y=y, radius=radius)


def sample(rng: random.Random, *, kind: str | None = None, held_out_only: bool = False) -> Scene:
    """A random scene, of one of `KINDS` or any; never a held-out one unless only those."""
    make = {"single": _single, "pair": _pair, "group": _group}
    make |= {"textured": _textured, "outlined": _outlined}
    while True:
        chosen = kind or rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        scene = make[chosen](rng)
        if held_out(scene) == held_out_only:
            return scene
