"""Training scenes, their cached codes, and freshly sampled captions.

Pictures are rendered and encoded once, captioned anew at every step.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch

from backends.miniatures import world
from backends.miniatures.training.loop.trainer import CHECKPOINTS, log, save_atomically
from backends.miniatures.world import captions

SCENE_COUNT: Final = 16_000
"""Number of training scenes whose codes are cached."""
SEED: Final = 2026
CAPTION_DROPOUT: Final = 0.1
"""Share of captions left empty, for classifier-free guidance (arXiv 2207.12598)."""


def training_scenes(count: int = SCENE_COUNT, seed: int = SEED) -> list[world.Scene]:
    """Return the training scenes, the same ones at every call; none is held out."""
    rng = random.Random(seed)
    return [world.sample(rng) for _ in range(count)]


def off_grid_scenes(count: int, seed: int = SEED + 1) -> list[world.Scene]:
    """Return jittered training scenes, as users draw control pictures; the same ones at every
    call.
    """
    rng = random.Random(seed)
    return [world.jitter(world.sample(rng), rng) for _ in range(count)]


TEXTURE_IMPORTANCE: Final = 0.3
"""Weight of a textured background, between 0 (an empty one) and 1 (a thing)."""


def to_tensor(pictures: list[Any]) -> torch.Tensor:
    """Convert pictures (RGB, all of one size) to values from -1 to 1: (batch, 3, height, width)."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return stacked.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


@torch.no_grad()
def encode_cached(
    name: str, encode: Callable[[torch.Tensor], torch.Tensor], everything: list[world.Scene]
) -> torch.Tensor:
    """Return the codes of these scenes, cached as `name`; `encode` maps (n, 3, SIDE, SIDE) to
    codes.
    """
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
    save_atomically(path, codes)
    return codes


def loss_weights(scenes: list[world.Scene], side: int = 16, emphasis: float = 5) -> torch.Tensor:
    """Return each latent pixel's weight in the loss: (n, 1, side, side), 1 on average.

    Things cover a tenth of a picture but are nearly all that a caption is about, so that pixels on
    and around them count `emphasis` times as much as an empty background. A textured background
    counts between the two.
    """
    pixels = world.SIDE // side
    middle = (torch.arange(side) + 0.5) * pixels
    near = torch.zeros(len(scenes), 1, side, side)
    for index, scene in enumerate(scenes):
        near[index] = TEXTURE_IMPORTANCE if scene.texture else 0.0
        for thing in scene.things:
            across = (middle - thing.x).abs() < thing.radius + 0.75 * pixels
            along = (middle - thing.y).abs() < thing.radius + 0.75 * pixels
            near[index, 0] = torch.maximum(near[index, 0], (along[:, None] & across).float())
    weight = 1 + (emphasis - 1) * near
    return weight / weight.mean()


def sample_caption(scene: world.Scene, rng: random.Random) -> str:
    """Return a caption of the scene, or with probability CAPTION_DROPOUT an empty one."""
    return "" if rng.random() < CAPTION_DROPOUT else captions.write(scene, rng)


@dataclass(slots=True)
class BatchSampler:
    """Random batches of codes with freshly sampled captions.

    `pools` are lists of scene indices that are drawn from in rotation; without any, all scenes are
    one pool.
    """

    codes: torch.Tensor
    scenes: list[world.Scene]
    rng: random.Random
    pools: tuple[list[int], ...] = ()

    def sample(self, size: int) -> tuple[torch.Tensor, list[str], list[world.Scene]]:
        """Return codes (size, ...), a caption of each, some of them empty, and their scenes."""
        pools = self.pools or (range(len(self.codes)),)
        chosen = [self.rng.choice(pools[index % len(pools)]) for index in range(size)]
        drawn = [self.scenes[index] for index in chosen]
        return self.codes[chosen], [sample_caption(scene, self.rng) for scene in drawn], drawn
