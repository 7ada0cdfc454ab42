"""Train the decoder of an autoencoder on frozen codes.

With the encoder frozen, codes can be cached, denoisers can train, and the decoder trains on exactly
its later input: codes of whole pictures, slightly noisy, as a denoiser returns them.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import torch
from diffusers import AutoencoderKL, VQModel
from torch import nn
from transformers.models.janus.modeling_janus import JanusVQVAE

from backends.miniatures import world
from backends.miniatures.training.codecs.autoencoder import picture_loss
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fastest_dtype
from backends.miniatures.training.loop.trainer import CHECKPOINTS, Trainer, run_stage

STEPS: Final = 1500
FULL_SIZE_SHARE: Final = 0.35
"""Share of the steps, the last ones, on whole pictures."""
RATE: Final = 2e-3
"""Learning rate."""
EMPHASIS: Final = 16.0
"""Weight of a pixel near a thing, relative to the background. Without it most of a step goes
into smoothing a background that is flat already: an L1 loss pulls at a small error as at a
large one."""

Autoencoder: TypeAlias = AutoencoderKL | VQModel | JanusVQVAE
"""An autoencoder whose halves have the names of latent diffusion's own code."""

Lookup: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Function from cached codes (n, ...) to the decoder's input (n, channels, 16, 16), in fp32."""


class DecoderHalf(nn.Module):
    """The decoding half of an autoencoder: from codes to pixels. Attribute names are keys of
    checkpoints.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        assert autoencoder.post_quant_conv is not None
        self.convolution, self.decoder = autoencoder.post_quant_conv, autoencoder.decoder

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.decoder(self.convolution(codes))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderPlan:
    """Settings of a decoder's training: `name` is the checkpoint's, `noise` is added to the codes.

    A latent pixel stands for `depth` pixels on a side; most steps decode windows of `window` latent
    pixels, the last `full_size_share` of them `batch` whole pictures, whose norms have other
    statistics. With `unit_range` the decoder's values are from 0 to 1, not from -1.
    """

    name: str
    steps: int = STEPS
    depth: int = 8
    window: int = 6
    batch: int = 4
    full_size_share: float = FULL_SIZE_SHARE
    noise: float = 0.0
    unit_range: bool = False


def train(plan: DecoderPlan, autoencoder: Autoencoder, codes: torch.Tensor, lookup: Lookup) -> None:
    """Train the decoder in place (resuming, or just loading its checkpoint)."""
    half = DecoderHalf(autoencoder).requires_grad_(True)  # frozen where another part learned
    trainer = Trainer(half, rate=RATE, decay=0.0, average=0.995, matrices="decoder.")
    scenes, rng = dataset.training_scenes(len(codes)), random.Random()

    def loss(step: int) -> torch.Tensor:
        full = step >= (1 - plan.full_size_share) * plan.steps
        chosen = rng.choices(range(len(codes)), k=plan.batch if full else 20)
        pictures: list[Any] = [world.draw(scenes[index]) for index in chosen]
        wanted, codes_in = dataset.to_tensor(pictures), lookup(codes[chosen])
        weight = dataset.loss_weights([scenes[index] for index in chosen], world.SIDE, EMPHASIS)
        if not full:
            corners = [_random_window(scenes[index], plan, rng) for index in chosen]
            codes_in = _crop(codes_in, corners, plan.window)
            wanted, weight = (
                _crop(batch, corners, plan.window, plan.depth) for batch in (wanted, weight)
            )
        codes_in = codes_in + plan.noise * torch.rand(len(codes_in), 1, 1, 1) * torch.randn_like(
            codes_in
        )
        drawn = trainer.fast(codes_in.to(fastest_dtype())).float()
        return picture_loss(drawn * 2 - 1 if plan.unit_range else drawn, wanted, weight)

    run_stage(plan.name, trainer, plan.steps, loss)
    load_trained(plan.name, autoencoder)


def load_trained(name: str, autoencoder: Autoencoder) -> None:
    """Load the decoder's averaged weights from its checkpoint, if there is one."""
    path = CHECKPOINTS / f"{name}.pt"
    if path.exists():
        state = cast("dict[str, Any]", torch.load(path, weights_only=True))
        DecoderHalf(autoencoder).load_state_dict(state["average"])


def _random_window(scene: world.Scene, plan: DecoderPlan, rng: random.Random) -> tuple[int, int]:
    """Return the corner, in latent pixels, of a window on a random thing."""
    depth, half = plan.depth, plan.window / 2
    thing, last_corner = rng.choice(scene.things), world.SIDE // depth - plan.window
    left, top = (
        min(max(int((at + rng.uniform(-20, 20)) / depth - half + 0.5), 0), last_corner)
        for at in (thing.x, thing.y)
    )
    return left, top


def _crop(
    batch: torch.Tensor, corners: list[tuple[int, int]], window: int, scale: int = 1
) -> torch.Tensor:
    """Cut a window from each of a batch; `scale` is the pixels per latent pixel."""
    side = window * scale
    return torch.stack(
        [
            one[:, top * scale : top * scale + side, left * scale : left * scale + side]
            for one, (left, top) in zip(batch, corners, strict=True)
        ]
    )
