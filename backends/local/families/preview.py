"""A look at an unfinished picture for a hundredth of a step's cost.

A latent is, at thumbnail size, close to a linear function of its picture: RGB = latent @ weight +
bias. A model's folder may hold that map, fitted on real pictures, as `preview.json`:

    {"weight": [[r, g, b], ... one row a channel], "bias": [r, g, b]}      RGB from 0 to 1

Where it does not, and the family knows no map (`latent.py` has Stable Diffusion's), the decoder is
asked: one small random latent is decoded once, when the model is loaded, and the map is the
least-squares fit. That is rough, but works for any number of channels; for token models the latent
is the tokens' vectors in the codebook.
"""

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from PIL import Image
from torch.nn import functional as F

from backends.base import Preview

SHARE: Final = 0.02
OFTEN: Final = 0.1
"""Seconds from one look to the next at least: the page shows no more than ten a second."""
_PROBE: Final = 16


@dataclass(frozen=True, slots=True)
class LatentPreview:
    """The linear map of one model, on the CPU; `codebook` only for token models."""

    weight: torch.Tensor
    bias: torch.Tensor
    codebook: torch.Tensor | None = None

    @torch.no_grad()
    def picture(self, latents: torch.Tensor) -> Preview:
        """Show one unfinished picture: latents of (channels, height, width) or tokens."""
        latents = latents.cpu()
        if self.codebook is None:
            vectors = latents.float().movedim(0, -1)
            rgb = vectors @ self.weight + self.bias
        else:
            known = (latents < len(self.codebook))[..., None]
            vectors = self.codebook[latents.clamp(max=len(self.codebook) - 1)]
            rgb = torch.where(known, vectors @ self.weight + self.bias, 0.5)  # still masked: grey
        values = (rgb * 255).clamp(0, 255).to(torch.uint8).numpy()
        out = io.BytesIO()
        Image.fromarray(values).save(out, "JPEG", quality=80, subsampling=0)
        return Preview(out.getvalue())


class PreviewBudget:
    """Lets previews take a small share of a run's time, and come no oftener than they are seen."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = -math.inf
        self._spent = self._last = 0.0

    def allows(self) -> bool:
        """Whether another look is due and, as dear as the last one, stays within the share."""
        now = time.monotonic()
        due = now - self._shown >= OFTEN
        return due and self._spent + self._last <= SHARE * (now - self._began)

    def show(self, look: LatentPreview, latents: torch.Tensor) -> Preview:
        """Make a look and book its time."""
        _finished(latents.device)  # the step itself is not the look's doing
        began = time.monotonic()
        preview = look.picture(latents)
        self._shown = time.monotonic()
        self._last = self._shown - began
        self._spent += self._last
        return preview


def _finished(device: torch.device) -> None:
    """Wait for what a GPU, which works behind the program's back, still has to do."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def own_map(folder: Path | None, codebook: torch.Tensor | None = None) -> LatentPreview | None:
    """The map that a model's folder brings with it, if it does."""
    file = None if folder is None else folder / "preview.json"
    if file is None or not file.is_file():
        return None
    found = cast(dict[str, Any], json.loads(file.read_text()))
    weight, bias = (torch.tensor(found[name]).float() for name in ("weight", "bias"))
    return LatentPreview(weight, bias, codebook)


def codebook_of(vqvae: Any) -> torch.Tensor:
    """The vectors of all tokens of a diffusers VQModel, (tokens, channels), on the CPU."""
    return vqvae.quantize.embedding.weight.detach().float().cpu()


def token_look(
    codebook: torch.Tensor,
    decode: Callable[[torch.Tensor], torch.Tensor],
    folder: Path | None = None,
) -> LatentPreview:
    """The map for a model of tokens: its folder's own, or one fitted to its decoder.

    The codebook is (tokens, channels), on the CPU; `decode` makes a picture from 0 to 1 of vectors
    from it, (1, channels, height, width).
    """

    def nearest(noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spread = noise[0].flatten(1).T * codebook.std(0) + codebook.mean(0)
        tokens = torch.cdist(spread, codebook).argmin(1)
        vectors = codebook[tokens].T.reshape(1, -1, _PROBE, _PROBE)
        return vectors, decode(vectors)

    return own_map(folder, codebook) or fit(codebook.shape[1], nearest, codebook)


def decoded(vqvae: Any, vectors: torch.Tensor) -> torch.Tensor:
    """What the decoder of a diffusers VQModel draws of vectors from its codebook."""
    given = vectors.to(vqvae.device, vqvae.dtype)
    spatial = vqvae.config.norm_type == "spatial"
    return vqvae.decoder(vqvae.post_quant_conv(given), given if spatial else None)


@torch.no_grad()
def fit(
    channels: int,
    decode: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    codebook: torch.Tensor | None = None,
) -> LatentPreview:
    """Decode a small random latent and fit RGB to it.

    `decode` takes the latent and returns the one it really used, and the picture from 0 to 1.
    """
    dice = torch.Generator("cpu").manual_seed(0)
    # Neighbours in real latents are alike, so half of the noise is coarse.
    fine = torch.randn(1, channels, _PROBE, _PROBE, generator=dice)
    coarse = torch.randn(1, channels, _PROBE // 4, _PROBE // 4, generator=dice)
    noise = 0.7 * (fine + F.interpolate(coarse, scale_factor=4, mode="bilinear"))
    latent, picture = decode(noise)
    small = F.adaptive_avg_pool2d(picture.float().cpu().clamp(0, 1), _PROBE)
    inputs = torch.cat([latent[0].flatten(1).T, torch.ones(_PROBE * _PROBE, 1)], dim=1)
    # A little ridge: a codebook may have as many dimensions as the probe has places.
    gram = inputs.T @ inputs + 1e-2 * torch.eye(channels + 1)
    solved = torch.linalg.solve(gram, inputs.T @ small[0].flatten(1).T)
    return LatentPreview(solved[:-1], solved[-1], codebook)
