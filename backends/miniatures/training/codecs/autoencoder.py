"""The continuous autoencoder: 128x128 pictures to 16x16 latents of 8 channels, and back.

A plain `AutoencoderKL` (latent diffusion, arXiv 2112.10752) without the adversarial loss: the
world is flat, so an L1 loss on values and on differences between neighbours is enough for crisp
edges. It is convolutional, so most steps train on 48x48 crops around things; the last ones on
whole pictures, because GroupNorm's statistics differ between the two.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
import random
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from backends.miniatures.training.loop.precision import fast_type
from backends.miniatures.training.loop.trainer import Trainer, log, run_stage
from backends.miniatures.world import scene as world

LATENT_CHANNELS: Final = 8
CHANNELS: Final = (16, 32, 64, 128)
NORM_GROUPS: Final = 1
"""Groups of few channels would normalise a flat picture's colour away."""
STEPS: Final = 4800
WHOLE_SHARE: Final = 0.15
CROP: Final = 48
WIDER_STEPS: Final = 1500
GOOD: Final = 0.015
"""Mean error of a picture (values from -1 to 1) below which its latents are to stay."""
ENOUGH: Final = 0.8
"""The share of pictures that are drawn so from which none need to be learned."""


def build() -> AutoencoderKL:
    """An untrained autoencoder."""
    return AutoencoderKL(
        down_block_types=cast(Any, ("DownEncoderBlock2D",) * len(CHANNELS)),
        up_block_types=cast(Any, ("UpDecoderBlock2D",) * len(CHANNELS)),
        block_out_channels=cast(Any, CHANNELS),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=NORM_GROUPS,
        mid_block_add_attention=False,
        sample_size=world.SIDE,
        scaling_factor=1.0,
        force_upcast=False,
    )


def posterior(autoencoder: AutoencoderKL, pictures: torch.Tensor) -> Any:
    """The distribution (a `DiagonalGaussianDistribution`) of the latents of (n, 3, h, w)."""
    return cast(Any, autoencoder).encode(pictures).latent_dist


def means(autoencoder: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """The latents (n, 8, h / 8, w / 8) of pictures (n, 3, h, w)."""
    return posterior(autoencoder, pictures).mean


def decode(autoencoder: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 3, 8h, 8w) of latents (n, 8, h, w)."""
    return cast(Any, autoencoder).decode(latents).sample


def to_tensor(pictures: list[Any]) -> torch.Tensor:
    """Pictures (RGB, all of one size) to values from -1 to 1: (batch, 3, height, width)."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return stacked.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def batch(
    scenes: list[world.Scene], rng: random.Random, *, whole: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of n scenes, whole or crops around a thing, and their backgrounds' colours.

    Pictures are (n, 3, side, side), backgrounds (n, 3), both from -1 to 1.
    """
    pictures: list[Any] = []
    backgrounds: list[world.Colour] = []
    for scene in scenes:
        picture = world.draw(scene)
        if not whole:
            thing = rng.choice(scene.things)
            left, top = (
                min(max(int(at - CROP / 2 + rng.uniform(-22, 22)), 0), world.SIDE - CROP)
                for at in (thing.x, thing.y)
            )
            picture = picture.crop((left, top, left + CROP, top + CROP))
        pictures.append(picture)
        backgrounds.append(world.COLOURS[scene.background])
    return to_tensor(pictures), torch.tensor(backgrounds) / 127.5 - 1


def cell_colours(pictures: torch.Tensor, backgrounds: torch.Tensor) -> torch.Tensor:
    """What each 8x8 cell's latent should tell: its mean colour, and its most foreign one.

    Pictures (n, 3, h, w), backgrounds (n, 3); gives (n, 6, h / 8, w / 8). The most foreign colour
    is that of the pixel farthest from the background: the thing's own, wherever there is one.
    """
    count, channels, height, width = pictures.shape
    cells = pictures.reshape(count, channels, height // 8, 8, width // 8, 8)
    cells = cells.permute(0, 1, 2, 4, 3, 5).flatten(4)
    far = (cells - backgrounds[:, :, None, None, None]).square().sum(1, keepdim=True)
    pixel = far.argmax(4, keepdim=True).expand(-1, channels, -1, -1, -1)
    return torch.cat([cells.mean(4), cells.gather(4, pixel)[..., 0]], 1)


class ColourProbe(nn.Module):
    """Reads `cell_colours` off the latents, in training only.

    Without it colours take by far the longest to learn: GroupNorm hides a flat area's absolute
    value, and a small thing's colour weighs next to nothing in a picture's mean error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 6, 1)
        )

    def forward(self, latents: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The error of what is read: latents (n, 8, h, w), wanted (n, 6, h, w)."""
        read = self.layers(latents).float()
        return F.mse_loss(read, wanted) + 0.3 * F.l1_loss(read, wanted)


class AutoencoderWithProbe(nn.Module):
    """What trains together: an autoencoder and its tutor."""

    def __init__(self, pupil: AutoencoderKL) -> None:
        super().__init__()
        self.pupil, self.tutor = pupil, ColourProbe()

    def forward(
        self, wanted: torch.Tensor, colours: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How far pictures (n, 3, h, w) and what is read off their latents are off; their means.

        `colours` are those of the pictures' cells.
        """
        spread = posterior(self.pupil, wanted.to(fast_type()))
        latents = spread.sample()
        surprise = spread.kl().float().mean() / latents[0].numel()
        drawn = picture_loss(decode(self.pupil, latents), wanted)
        return drawn + 0.5 * self.tutor(latents, colours) + 1e-4 * surprise, spread.mean


def picture_loss(
    drawn: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Errors of values, and of differences between neighbours: a flat picture's edges.

    Pictures are (n, 3, h, w); `weight` (n, 1, h, w) says how much each pixel counts, 1 on average.
    """
    error = drawn.float() - wanted
    weight = torch.ones_like(error[:, :1]) if weight is None else weight
    loss = ((error.abs() + error.square()) * weight).mean()
    for axis in (2, 3):
        inner = weight.narrow(axis, 1, weight.shape[axis] - 1)
        loss = loss + (error.diff(dim=axis).abs() * inner).mean()
    return loss


def train() -> AutoencoderKL:
    """Train (or resume, or just load) the autoencoder; latents come out standardised."""
    trainer = Trainer(AutoencoderWithProbe(build()), rate=2e-3, decay=0.0, average=0.998)
    model, rng = cast(AutoencoderWithProbe, trainer.fast), random.Random()

    def loss(step: int) -> torch.Tensor:
        whole = step > (1 - WHOLE_SHARE) * STEPS
        scenes = [world.sample(rng) for _ in range(4 if whole else 16)]
        wanted, backgrounds = batch(scenes, rng, whole=whole)
        return model(wanted, cell_colours(wanted, backgrounds))[0]

    run_stage("autoencoder", trainer, STEPS, loss)
    autoencoder = cast(AutoencoderWithProbe, trainer.average).pupil.eval()
    standardise(autoencoder)
    return autoencoder


def widen(
    known: AutoencoderKL, draw: Callable[[int], list[world.Scene]], rng: random.Random
) -> AutoencoderKL:
    """Go on with scenes that `draw` gives; pictures that were drawn well keep their latents.

    The U-Net and the ControlNet that were trained on them thus begin near where they ended. Where
    these pictures are drawn well already, it stays as it is.
    """
    before = cast(Any, copy.deepcopy(known)).to(fast_type()).requires_grad_(False)

    def good(wanted: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return (decode(before, latents).float() - wanted).abs().mean((1, 2, 3)) < GOOD

    with torch.no_grad():
        seen, _ = batch(draw(64), rng, whole=True)
        if good(seen, means(before, seen.to(fast_type()))).float().mean() > ENOUGH:
            return known
    trainer = Trainer(
        AutoencoderWithProbe(copy.deepcopy(known)), rate=1e-3, decay=0.0, average=0.998
    )

    def loss(step: int) -> torch.Tensor:
        whole = step > (1 - WHOLE_SHARE) * WIDER_STEPS
        wanted, backgrounds = batch(draw(4 if whole else 16), rng, whole=whole)
        with torch.no_grad():
            then = means(before, wanted.to(fast_type()))
            stays = good(wanted, then)
        error, now = trainer.fast(wanted, cell_colours(wanted, backgrounds))
        moved = (now - then).float().square().mean((1, 2, 3)) * stays
        return error + 2 * moved.mean()

    run_stage("autoencoder-widened", trainer, WIDER_STEPS, loss)
    return cast(AutoencoderWithProbe, trainer.average).pupil.eval()


@torch.no_grad()
def standardise(autoencoder: AutoencoderKL) -> None:
    """Fold per-channel mean and deviation of the latents into the two 1x1 convolutions.

    After this a `scaling_factor` of 1 is right, and plain diffusers code decodes correctly.
    """
    rng = random.Random(7)
    pictures = to_tensor([world.draw(world.sample(rng)) for _ in range(256)])
    latents = torch.cat([means(autoencoder, part) for part in pictures.split(32)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    log(f"latent means {mean.tolist()} deviations {deviation.tolist()}")
    inward, outward = autoencoder.quant_conv, autoencoder.post_quant_conv
    assert inward is not None and outward is not None
    fold(inward, outward, mean, deviation)


@torch.no_grad()
def fold(
    inward: nn.Conv2d, outward: nn.Conv2d, mean: torch.Tensor, deviation: torch.Tensor
) -> None:
    """Make `inward` give (z - mean) / deviation where it gave z, and `outward` undo that.

    `inward` may have twice as many channels: the second half then is the log variance.
    """
    channels = len(mean)
    assert inward.bias is not None and outward.bias is not None
    inward.bias[:channels].sub_(mean).div_(deviation)
    inward.weight[:channels].div_(deviation[:, None, None, None])
    if inward.out_channels == 2 * channels:
        inward.bias[channels:].sub_(2 * deviation.log())
    outward.bias.add_((outward.weight[:, :, 0, 0] * mean).sum(1))
    outward.weight.mul_(deviation[None, :, None, None])
