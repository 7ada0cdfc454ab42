"""The synthetic world that the miniatures are trained on: scenes, captions, recognition. No torch.

The package re-exports the names of `world.scene`, so that other modules read `world.sample(rng)`.
"""

from backends.miniatures.world.scene import (
    COLOURS,
    GRID,
    GROUPS,
    KINDS,
    MARGIN,
    MIN_CONTRAST,
    NEWEST_KIND,
    POSITIONS,
    SIDE,
    SIZES,
    TOKEN,
    Scene,
    Thing,
    draw,
    group_places,
    held_out,
    is_distinct,
    jitter,
    sample,
)
from backends.miniatures.world.shapes import SHAPES
from backends.miniatures.world.textures import Colour

__all__ = [
    "COLOURS",
    "GRID",
    "GROUPS",
    "KINDS",
    "MARGIN",
    "MIN_CONTRAST",
    "NEWEST_KIND",
    "POSITIONS",
    "SHAPES",
    "SIDE",
    "SIZES",
    "TOKEN",
    "Colour",
    "Scene",
    "Thing",
    "draw",
    "group_places",
    "held_out",
    "is_distinct",
    "jitter",
    "sample",
]
