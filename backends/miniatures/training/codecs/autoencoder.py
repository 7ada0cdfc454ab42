"""The continuous autoencoder: 128x128 pictures to 16x16 latents of 8 channels, and back.

A plain `AutoencoderKL` (latent diffusion, arXiv 2112.10752) without the adversarial loss: the world
is flat, so an L1 loss on values and on differences between neighbours is enough for crisp edges. It
is convolutional, so most steps train on 48x48 crops around things; the last ones on whole pictures,
because GroupNorm's statistics differ between the two.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
import random
from collections.abc import Callable
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.loop.dataset import to_tensor
from backends.miniatures.training.loop.precision import fastest_dtype
from backends.miniatures.training.loop.trainer import Trainer, log, run_stage

LATENT_CHANNELS: Final = 8
CHANNELS: Final = (16, 32, 64, 128)
NORM_GROUPS: Final = 1
"""Groups of few channels would normalize a flat picture's colour away."""
STEPS: Final = 4800
FULL_SIZE_SHARE: Final = 0.15
"""Share of the steps, the last ones, on whole pictures."""
CROP: Final = 48
"""Side of a crop in pixels."""
EXTENSION_STEPS: Final = 1500
MAX_KEPT_ERROR: Final = 0.015
"""Mean error of a picture (values from -1 to 1) below which its latents are preserved."""
SUFFICIENT_SHARE: Final = 0.8
"""Share of pictures below that error from which no extension is needed."""


def build() -> AutoencoderKL:
    """Return an untrained autoencoder."""
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
    """Return the latents' distribution (a `DiagonalGaussianDistribution`) of pictures (n, 3, h,
    w).
    """
    return cast(Any, autoencoder).encode(pictures).latent_dist


def encode(autoencoder: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Return the mean latents (n, 8, h / 8, w / 8) of pictures (n, 3, h, w)."""
    return posterior(autoencoder, pictures).mean


def decode(autoencoder: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Return pictures (n, 3, 8h, 8w) of latents (n, 8, h, w)."""
    return cast(Any, autoencoder).decode(latents).sample


def sample_batch(
    scenes: list[world.Scene], rng: random.Random, *, full_size: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (n, 3, side, side) of n scenes and their background colours (n, 3), from -1
    to 1.

    They are `full_size`, or crops around a random thing.
    """
    pictures: list[Any] = []
    backgrounds: list[world.Colour] = []
    for scene in scenes:
        picture = world.draw(scene)
        if not full_size:
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
    """Return the probe's targets for each 8x8 cell: its mean colour, and its most foreign one.

    Pictures (n, 3, h, w), backgrounds (n, 3) to (n, 6, h / 8, w / 8). The most foreign colour is
    that of the pixel farthest from the background: the thing's own, wherever there is one.
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
    value, and a small thing's colour hardly contributes to a picture's mean error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 6, 1)
        )

    def forward(self, latents: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the error of the probe: latents (n, 8, h, w), wanted (n, 6, h, w)."""
        read = self.layers(latents).float()
        return F.mse_loss(read, wanted) + 0.3 * F.l1_loss(read, wanted)


class AutoencoderWithProbe(nn.Module):
    """An autoencoder and its colour probe, trained together. Attribute names are keys of
    checkpoints.
    """

    def __init__(self, pupil: AutoencoderKL) -> None:
        super().__init__()
        self.pupil, self.tutor = pupil, ColourProbe()

    def forward(
        self, wanted: torch.Tensor, colours: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss on pictures (n, 3, h, w), and their mean latents.

        `colours` are the targets of the probe.
        """
        distribution = posterior(self.pupil, wanted.to(fastest_dtype()))
        latents = distribution.sample()
        kl = distribution.kl().float().mean() / latents[0].numel()
        reconstruction_loss = picture_loss(decode(self.pupil, latents), wanted)
        return reconstruction_loss + 0.5 * self.tutor(
            latents, colours
        ) + 1e-4 * kl, distribution.mean


def picture_loss(
    drawn: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the L1 and L2 error of values plus the L1 error of differences between neighbours.

    Pictures are (n, 3, h, w); `weight` (n, 1, h, w) is each pixel's weight, 1 on average. The
    differences keep edges crisp and areas flat.
    """
    error = drawn.float() - wanted
    weight = torch.ones_like(error[:, :1]) if weight is None else weight
    loss = ((error.abs() + error.square()) * weight).mean()
    for axis in (2, 3):
        inner = weight.narrow(axis, 1, weight.shape[axis] - 1)
        loss = loss + (error.diff(dim=axis).abs() * inner).mean()
    return loss


def train() -> AutoencoderKL:
    """Train the autoencoder (resuming, or just loading its checkpoint), and standardize its
    latents.
    """
    trainer = Trainer(AutoencoderWithProbe(build()), rate=2e-3, decay=0.0, average=0.998)
    model, rng = cast(AutoencoderWithProbe, trainer.fast), random.Random()

    def loss(step: int) -> torch.Tensor:
        whole = step > (1 - FULL_SIZE_SHARE) * STEPS
        scenes = [world.sample(rng) for _ in range(4 if whole else 16)]
        wanted, backgrounds = sample_batch(scenes, rng, full_size=whole)
        return model(wanted, cell_colours(wanted, backgrounds))[0]

    run_stage("autoencoder", trainer, STEPS, loss)
    autoencoder = cast(AutoencoderWithProbe, trainer.average).pupil.eval()
    standardize_latents(autoencoder)
    return autoencoder


def extend(
    autoencoder: AutoencoderKL, draw: Callable[[int], list[world.Scene]], rng: random.Random
) -> AutoencoderKL:
    """Continue training on scenes from `draw`; pictures with a small error keep their latents.

    The U-Net and the ControlNet trained on these latents thus start near where they were. If the
    new pictures have a small error already, the autoencoder is returned unchanged.
    """
    reference = cast(Any, copy.deepcopy(autoencoder)).to(fastest_dtype()).requires_grad_(False)

    def is_kept(wanted: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return (decode(reference, latents).float() - wanted).abs().mean((1, 2, 3)) < MAX_KEPT_ERROR

    with torch.no_grad():
        pictures, _ = sample_batch(draw(64), rng, full_size=True)
        if (
            is_kept(pictures, encode(reference, pictures.to(fastest_dtype()))).float().mean()
            > SUFFICIENT_SHARE
        ):
            return autoencoder
    trainer = Trainer(
        AutoencoderWithProbe(copy.deepcopy(autoencoder)), rate=1e-3, decay=0.0, average=0.998
    )

    def loss(step: int) -> torch.Tensor:
        whole = step > (1 - FULL_SIZE_SHARE) * EXTENSION_STEPS
        wanted, backgrounds = sample_batch(draw(4 if whole else 16), rng, full_size=whole)
        with torch.no_grad():
            old_latents = encode(reference, wanted.to(fastest_dtype()))
            kept = is_kept(wanted, old_latents)
        error, latents = trainer.fast(wanted, cell_colours(wanted, backgrounds))
        drift = (latents - old_latents).float().square().mean((1, 2, 3)) * kept
        return error + 2 * drift.mean()

    run_stage("autoencoder-widened", trainer, EXTENSION_STEPS, loss)
    return cast(AutoencoderWithProbe, trainer.average).pupil.eval()


@torch.no_grad()
def standardize_latents(autoencoder: AutoencoderKL) -> None:
    """Fold the latents' mean and deviation per channel into the two 1x1 convolutions.

    After this a `scaling_factor` of 1 is right, and plain diffusers code decodes correctly.
    """
    rng = random.Random(7)
    pictures = to_tensor([world.draw(world.sample(rng)) for _ in range(256)])
    latents = torch.cat([encode(autoencoder, part) for part in pictures.split(32)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    log(f"latent means {mean.tolist()} deviations {deviation.tolist()}")
    inward, outward = autoencoder.quant_conv, autoencoder.post_quant_conv
    assert inward is not None and outward is not None
    fold_normalization(inward, outward, mean, deviation)


@torch.no_grad()
def fold_normalization(
    inward: nn.Conv2d, outward: nn.Conv2d, mean: torch.Tensor, deviation: torch.Tensor
) -> None:
    """Make `inward` return (z - mean) / deviation instead of z, and `outward` undo that.

    `inward` may have twice as many channels: the second half is then the log variance.
    """
    channels = len(mean)
    assert inward.bias is not None and outward.bias is not None
    inward.bias[:channels].sub_(mean).div_(deviation)
    inward.weight[:channels].div_(deviation[:, None, None, None])
    if inward.out_channels == 2 * channels:
        inward.bias[channels:].sub_(2 * deviation.log())
    outward.bias.add_((outward.weight[:, :, 0, 0] * mean).sum(1))
    outward.weight.mul_(deviation[None, :, None, None])
