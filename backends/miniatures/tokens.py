"""The discrete autoencoder: 128x128 pictures to 16x16 tokens out of 2048, and back.

A plain `VQModel` (VQGAN, arXiv 2012.09841, without the adversarial loss). It starts from the
continuous autoencoder's weights, and its codebook from that one's latents, so a few minutes are
enough. Codes follow the latents by moving averages; a code that nothing uses any more moves to a
latent that the codebook serves badly, which is nearly always at an edge.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from typing import Final, cast

import torch
from diffusers import AutoencoderKL, VQModel
from torch.nn import functional as F

from backends.miniatures import autoencoder as kl
from backends.miniatures import world
from backends.miniatures.precision import fast_type
from backends.miniatures.training import Trainee, log, run_stage

CODES: Final = 2048
STEPS: Final = 1200
WHOLE_SHARE: Final = 0.25
FORGETTING: Final = 0.99
UNUSED: Final = 0.02


def build(source: AutoencoderKL) -> VQModel:
    """A VQModel with the weights of a (standardised) continuous autoencoder.

    It reads and draws values from 0 to 1, as the aMUSEd pipeline expects, where the source takes
    -1 to 1; the first and last convolutions absorb the difference.
    """
    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(kl.CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(kl.CHANNELS),
        block_out_channels=kl.CHANNELS,
        layers_per_block=1,
        latent_channels=kl.LATENT_CHANNELS,
        vq_embed_dim=kl.LATENT_CHANNELS,
        num_vq_embeddings=CODES,
        norm_num_groups=kl.NORM_GROUPS,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
        sample_size=world.SIDE,
        scaling_factor=1.0,
    )
    half = kl.LATENT_CHANNELS
    weights = dict(model.state_dict())
    for name, value in source.state_dict().items():
        if name in weights and weights[name].shape == value.shape:
            weights[name] = value.clone()
    # The source's last encoder layers give means and log variances: keep what makes the means.
    outer = source.state_dict()
    mix = outer["quant_conv.weight"][:half, :, 0, 0]
    inner, offset = outer["encoder.conv_out.weight"], outer["encoder.conv_out.bias"]
    weights["encoder.conv_out.weight"] = torch.einsum("oi,ichw->ochw", mix, inner)
    weights["encoder.conv_out.bias"] = mix @ offset + outer["quant_conv.bias"][:half]
    weights["quant_conv.weight"] = torch.eye(half)[:, :, None, None]
    weights["quant_conv.bias"] = torch.zeros(half)
    weights["decoder.conv_out.weight"] = outer["decoder.conv_out.weight"] / 2
    weights["decoder.conv_out.bias"] = outer["decoder.conv_out.bias"] / 2 + 0.5
    first = outer["encoder.conv_in.weight"]
    weights["encoder.conv_in.weight"] = first * 2
    weights["encoder.conv_in.bias"] = outer["encoder.conv_in.bias"] - first.sum((1, 2, 3))
    model.load_state_dict(weights)
    model.quantize.embedding.requires_grad_(False)
    return model


class Codebook:
    """Codes that follow the latents: k-means by moving averages, with revival."""

    def __init__(self, codes: torch.Tensor) -> None:
        """`codes` (CODES, channels) is changed in place."""
        self.codes = codes
        self.uses = torch.ones(len(codes))
        self.sums = codes.clone()

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """The nearest code's number for each latent: (count, channels) to (count,)."""
        return torch.cdist(latents, self.codes).argmin(1)

    @torch.no_grad()
    def follow(self, latents: torch.Tensor, chosen: torch.Tensor, *, revive: bool) -> None:
        """Move the codes towards the latents that chose them."""
        uses = torch.bincount(chosen, minlength=len(self.codes)).float()
        sums = torch.zeros_like(self.codes).index_add_(0, chosen, latents)
        self.uses.lerp_(uses, 1 - FORGETTING)
        self.sums.lerp_(sums, 1 - FORGETTING)
        self.codes.copy_(self.sums / self.uses.clamp_min(1e-5)[:, None])
        if revive:
            self._revive(latents, chosen)

    def _revive(self, latents: torch.Tensor, chosen: torch.Tensor) -> None:
        dead = torch.nonzero(self.uses < UNUSED)[:, 0]
        errors = (latents - self.codes[chosen]).square().sum(1) + 1e-9
        dead = dead[torch.randperm(len(dead))][: len(latents) // 16]
        if len(dead):
            picked = torch.multinomial(errors, len(dead))
            self.codes[dead] = latents[picked]
            self.uses[dead] = 4 * UNUSED
            self.sums[dead] = 4 * UNUSED * latents[picked]


def first_codes(model: VQModel) -> torch.Tensor:
    """k-means of the untouched latents: (CODES, channels)."""
    dice = random.Random(3)
    with torch.no_grad():
        parts = [
            _flat(model.encode((kl.batch(dice, 32, whole=False)[0] + 1) / 2).latents)
            for _ in range(24)
        ]
    latents = torch.cat(parts)
    # Most latents are of flat background: choose starting codes among what is far from its mean.
    spread = latents.unique(dim=0)
    codes = spread[torch.randperm(len(spread))[:CODES]].clone()
    for _ in range(12):
        distance, chosen = torch.cdist(latents, codes).min(1)
        uses = torch.bincount(chosen, minlength=CODES)
        sums = torch.zeros_like(codes).index_add_(0, chosen, latents)
        codes = torch.where(uses[:, None] > 0, sums / uses.clamp_min(1)[:, None], codes)
        empty = torch.nonzero(uses < 3)[:, 0]
        if len(empty):
            codes[empty] = latents[torch.multinomial(distance.square() + 1e-9, len(empty))]
    return codes


def _flat(latents: torch.Tensor) -> torch.Tensor:
    """(n, c, h, w) to (n * h * w, c) in fp32."""
    return latents.float().permute(0, 2, 3, 1).flatten(0, 2)


def train(source: AutoencoderKL) -> VQModel:
    """Train (or resume, or just load) the discrete autoencoder, starting from `source`."""
    trainee = Trainee(kl.Lesson(build(source)), rate=1e-3, decay=0.0, average=0.998)
    lesson = cast(kl.Lesson, trainee.fast)
    fast = cast(VQModel, lesson.pupil)
    masters = cast(VQModel, cast(kl.Lesson, trainee.masters).pupil)
    dice = random.Random()
    books: list[Codebook] = []

    def loss(step: int) -> torch.Tensor:
        if step == 0:
            masters.quantize.embedding.weight.data.copy_(first_codes(masters))
        if not books:
            books.append(Codebook(masters.quantize.embedding.weight.data))
        book = books[0]
        whole = step > (1 - WHOLE_SHARE) * STEPS
        wanted, backgrounds = kl.batch(dice, 4 if whole else 16, whole=whole)
        latents = fast.encode(((wanted + 1) / 2).to(fast_type())).latents
        flat = _flat(latents)
        chosen = book(flat.detach())
        count, channels, height, width = latents.shape
        codes = book.codes[chosen].reshape(count, height, width, channels).permute(0, 3, 1, 2)
        # Straight through: the decoder sees codes, the encoder gets the decoder's gradient.
        passed = latents + (codes - latents.float()).detach().to(fast_type())
        drawn = fast.decoder(fast.post_quant_conv(passed)).float() * 2 - 1
        commitment = F.mse_loss(latents.float(), codes.detach())
        book.follow(flat.detach(), chosen, revive=step % 10 == 0 and step < 0.85 * STEPS)
        if step % 200 == 0:
            used = int((book.uses > UNUSED).sum())
            log(f"codes in use {used}, commitment {float(commitment):.4f}")
        told = lesson.tutor(passed, kl.cell_colours(wanted, backgrounds))
        return kl.picture_loss(drawn, wanted) + 0.5 * told + 0.1 * commitment

    run_stage("tokens", trainee, STEPS, loss)
    model = cast(VQModel, cast(kl.Lesson, trainee.average).pupil).eval()
    model.quantize.embedding.weight.data.copy_(masters.quantize.embedding.weight.data)
    return model


@torch.no_grad()
def encode(fast: VQModel, exact: VQModel, pictures: torch.Tensor) -> torch.Tensor:
    """Token numbers (n, 16, 16) of pictures in -1 to 1 (n, 3, 128, 128).

    `fast` encodes, in whatever type it has; the codebook is the `exact` one's.
    """
    latents = fast.encode(((pictures + 1) / 2).to(fast.dtype)).latents
    chosen = torch.cdist(_flat(latents), exact.quantize.embedding.weight).argmin(1)
    return chosen.reshape(len(pictures), *latents.shape[2:])
