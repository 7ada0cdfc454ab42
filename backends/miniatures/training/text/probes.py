"""Linear probes that read a scene's attributes off a text encoder's pooled state.

Predicting the attributes pretrains an encoder; the probes themselves are not exported. A probe per
attribute follows Alain and Bengio (arXiv 1610.01644).
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.world.textures import TEXTURES

EncodeText: TypeAlias = Callable[[Any, list[str]], tuple[torch.Tensor, torch.Tensor]]
"""Function from a text encoder and captions to a pooled state (n, width) and all states (n,
...)."""

NONE: Final = "none"
"""Class of an attribute that a scene does not have."""
ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "background": tuple(world.COLOURS),
    "position": (*world.POSITIONS, NONE),
    "relation": ("left of", "above", NONE),
    "shape 1": world.SHAPES,
    "colour 1": tuple(world.COLOURS),
    "size 1": tuple(world.SIZES),
    "shape 2": (*world.SHAPES, NONE),
    "colour 2": (*world.COLOURS, NONE),
    "size 2": (*world.SIZES, NONE),
    "number": ("1", *map(str, world.GROUPS)),
    "texture": (*TEXTURES, NONE),
    "outlined 1": ("yes", "no"),
    "outlined 2": ("yes", "no", NONE),
}
"""The probed attributes and their classes. Thing 1 is the left or upper one, whatever the
caption's order."""


def attribute_labels(scene: world.Scene) -> list[int]:
    """Return the class index of each attribute, in the order of `ATTRIBUTES`."""
    first, second = scene.things[0], scene.things[1] if scene.relation else None
    outlined = ["yes" if thing and thing.outlined else "no" for thing in (first, second)]
    words = [
        scene.background,
        scene.position or NONE,
        scene.relation or NONE,
        first.shape,
        first.colour,
        first.size,
        *((second.shape, second.colour, second.size) if second else (NONE, NONE, NONE)),
        str(scene.number),
        scene.texture or NONE,
        outlined[0],
        outlined[1] if second else NONE,
    ]
    return [choices.index(word) for choices, word in zip(ATTRIBUTES.values(), words, strict=True)]


class AttributeProbes(nn.Module):
    """A linear classifier for every attribute on the pooled state, for training only.

    All weights start at zero, so that untrained probes do not disturb a trained encoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(width, len(c)) for c in ATTRIBUTES.values()])
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pooled: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy: pooled (batch, width), wanted (batch, attributes)."""
        losses = [
            F.cross_entropy(head(pooled).float(), wanted[:, index])
            for index, head in enumerate(self.heads)
        ]
        return torch.stack(losses).mean()
