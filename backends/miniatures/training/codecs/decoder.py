"""The second half of both autoencoders' training: codes stay, the decoder goes on learning.

With the encoder frozen, codes can be cached, the denoisers can start, and the decoder sees just
what it will be given: codes of whole pictures, a little noisy, as a denoiser leaves them.
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

from backends.miniatures.training.codecs.autoencoder import picture_loss, to_tensor
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fast_type
from backends.miniatures.training.loop.trainer import CHECKPOINTS, Trainer, run_stage
from backends.miniatures.world import scene as world

STEPS: Final = 1500
WHOLE_SHARE: Final = 0.35
RATE: Final = 2e-3
EMPHASIS: Final = 16.0
"""How much more than the background a pixel near a thing counts. Without it most of a step goes to
ironing a background that is flat already: an L1 loss pulls at a small error as at a large one."""

Coder: TypeAlias = AutoencoderKL | VQModel | JanusVQVAE
"""Any autoencoder whose halves bear the names of latent diffusion's own code."""

Lookup: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""From cached codes (n, ...) to what the decoder takes (n, channels, 16, 16), in fp32."""


class Half(nn.Module):
    """The decoding half of an autoencoder: from codes to pixels."""

    def __init__(self, whole: Coder) -> None:
        super().__init__()
        assert whole.post_quant_conv is not None
        self.convolution, self.decoder = whole.post_quant_conv, whole.decoder

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.decoder(self.convolution(codes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a decoder is taught: `name` is the checkpoint's, `noise` is added to the codes.

    A latent pixel stands for `depth` pixels on a side; most steps decode windows of `window` latent
    pixels, the last `whole_share` of them `batch` whole pictures: their norms are other norms.
    `unit` says that the decoder draws values from 0 to 1, not from -1.
    """

    name: str
    steps: int = STEPS
    depth: int = 8
    window: int = 6
    batch: int = 4
    whole_share: float = WHOLE_SHARE
    noise: float = 0.0
    unit: bool = False


def train(plan: Plan, whole: Coder, codes: torch.Tensor, lookup: Lookup) -> None:
    """Train (or resume, or just load) the decoder of `whole`, in place."""
    half = Half(whole).requires_grad_(True)  # frozen where another part learned
    trainer = Trainer(half, rate=RATE, decay=0.0, average=0.995, matrices="decoder.")
    scenes, rng = dataset.scenes(len(codes)), random.Random()

    def loss(step: int) -> torch.Tensor:
        full = step >= (1 - plan.whole_share) * plan.steps
        chosen = rng.choices(range(len(codes)), k=plan.batch if full else 20)
        pictures: list[Any] = [world.draw(scenes[index]) for index in chosen]
        wanted, given = to_tensor(pictures), lookup(codes[chosen])
        weight = dataset.importance([scenes[index] for index in chosen], world.SIDE, EMPHASIS)
        if not full:
            corners = [_window(scenes[index], plan, rng) for index in chosen]
            given = _crop(given, corners, plan.window)
            wanted, weight = (
                _crop(batch, corners, plan.window, plan.depth) for batch in (wanted, weight)
            )
        given = given + plan.noise * torch.rand(len(given), 1, 1, 1) * torch.randn_like(given)
        drawn = trainer.fast(given.to(fast_type())).float()
        return picture_loss(drawn * 2 - 1 if plan.unit else drawn, wanted, weight)

    run_stage(plan.name, trainer, plan.steps, loss)
    refresh(plan.name, whole)


def refresh(name: str, whole: Coder) -> None:
    """Put the decoder trained so far into `whole`, if there is one."""
    path = CHECKPOINTS / f"{name}.pt"
    if path.exists():
        state = cast("dict[str, Any]", torch.load(path, weights_only=True))
        Half(whole).load_state_dict(state["average"])


def _window(scene: world.Scene, plan: Plan, rng: random.Random) -> tuple[int, int]:
    """The corner, in latent pixels, of a window on one of the things."""
    depth, half = plan.depth, plan.window / 2
    thing, most = rng.choice(scene.things), world.SIDE // depth - plan.window
    left, top = (
        min(max(int((at + rng.uniform(-20, 20)) / depth - half + 0.5), 0), most)
        for at in (thing.x, thing.y)
    )
    return left, top


def _crop(
    batch: torch.Tensor, corners: list[tuple[int, int]], window: int, scale: int = 1
) -> torch.Tensor:
    side = window * scale
    return torch.stack(
        [
            one[:, top * scale : top * scale + side, left * scale : left * scale + side]
            for one, (left, top) in zip(batch, corners, strict=True)
        ]
    )
