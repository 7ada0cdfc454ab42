"""Scenes and their cached codes: drawn and encoded once, captioned afresh at every step."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import torch

from backends.miniatures.training.codecs.autoencoder import to_tensor
from backends.miniatures.training.loop.trainer import CHECKPOINTS, log, save
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world

COUNT: Final = 16_000
SEED: Final = 2026
DROPPED: Final = 0.1
"""Share of captions left empty, for classifier-free guidance (arXiv 2207.12598)."""


def scenes(count: int = COUNT, seed: int = SEED) -> list[world.Scene]:
    """The training scenes, always the same ones; none is held out."""
    rng = random.Random(seed)
    return [world.sample(rng) for _ in range(count)]


def loose_scenes(count: int, seed: int = SEED + 1) -> list[world.Scene]:
    """More of them, off the grid, as people draw control pictures; always the same ones."""
    rng = random.Random(seed)
    return [world.loosened(world.sample(rng), rng) for _ in range(count)]


TEXTURED: Final = 0.3
"""What a textured background counts, from 0, as an empty one, to 1, as things do."""


@torch.no_grad()
def encoded(
    name: str, encode: Callable[[torch.Tensor], torch.Tensor], everything: list[world.Scene]
) -> torch.Tensor:
    """The code of every one of these scenes, cached as `name`; `encode` maps (n, 3, SIDE, SIDE)."""
    path = CHECKPOINTS / f"{name}.pt"
    if path.exists():
        return cast(torch.Tensor, torch.load(path, weights_only=True))
    parts = list[torch.Tensor]()
    for start in range(0, len(everything), 64):
        pictures: list[Any] = [world.draw(scene) for scene in everything[start : start + 64]]
        parts.append(encode(to_tensor(pictures)))
        if start % 6400 == 0:
            log(f"{name}: {start}/{len(everything)} scenes encoded")
    codes = torch.cat(parts)
    save(path, codes)
    return codes


def importance(scenes: list[world.Scene], side: int = 16, emphasis: float = 5) -> torch.Tensor:
    """How much each latent pixel's error counts: (n, 1, side, side), 1 on average.

    Things cover a tenth of a picture but are nearly all that a caption is about, so that pixels
    on and around them count `emphasis` times as much as an empty background. One with a texture
    is not empty: it counts something between.
    """
    pixels = world.SIDE // side
    middle = (torch.arange(side) + 0.5) * pixels
    near = torch.zeros(len(scenes), 1, side, side)
    for index, scene in enumerate(scenes):
        near[index] = TEXTURED if scene.texture else 0.0
        for thing in scene.things:
            across = (middle - thing.x).abs() < thing.radius + 0.75 * pixels
            along = (middle - thing.y).abs() < thing.radius + 0.75 * pixels
            near[index, 0] = torch.maximum(near[index, 0], (along[:, None] & across).float())
    weight = 1 + (emphasis - 1) * near
    return weight / weight.mean()


def caption(scene: world.Scene, rng: random.Random) -> str:
    """A sentence about the scene, now and then an empty one."""
    return "" if rng.random() < DROPPED else captions.write(scene, rng)


@dataclass(slots=True)
class Batches:
    """Random batches of codes with freshly written captions.

    `pools` are the numbers of the scenes that are drawn from in balanced_kinds; without any, all are one.
    """

    codes: torch.Tensor
    scenes: list[world.Scene]
    rng: random.Random
    pools: tuple[list[int], ...] = ()

    def draw(self, size: int) -> tuple[torch.Tensor, list[str], list[world.Scene]]:
        """Codes (size, ...), a caption of each, some of them empty, and their scenes."""
        pools = self.pools or (range(len(self.codes)),)
        chosen = [self.rng.choice(pools[index % len(pools)]) for index in range(size)]
        drawn = [self.scenes[index] for index in chosen]
        return self.codes[chosen], [caption(scene, self.rng) for scene in drawn], drawn
