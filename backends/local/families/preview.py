"""Previews of unfinished pictures by a linear map, for a hundredth of a step's cost.

A latent is, at thumbnail size, close to a linear function of its picture: RGB = latent @ weight +
bias. A model's folder may hold that map, fitted on real pictures, as `preview.json`:

    {"weight": [[r, g, b], ... one row a channel], "bias": [r, g, b]}      RGB from 0 to 1

Without that file, and if the family has no known map (`latent.py` has Stable Diffusion's), the map
is fitted: one small random latent is decoded when the model is loaded, and the map is the
least-squares fit. That is rough, but works for any number of channels; for token models the latent
is made of the tokens' vectors in the codebook.
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

MAX_TIME_SHARE: Final = 0.02
MIN_INTERVAL: Final = 0.1
"""Minimum seconds between previews: the page shows at most ten a second."""
_PROBE_SIDE: Final = 16


@dataclass(frozen=True, slots=True)
class LatentPreview:
    """The linear map of one model, on the CPU; `codebook` is for token models only."""

    weight: torch.Tensor
    bias: torch.Tensor
    codebook: torch.Tensor | None = None

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> Preview:
        """Render one unfinished picture from latents (channels, height, width) or tokens."""
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
    """Limits previews to a small share of a run's time and to the page's refresh rate.

    The first preview also pays for what is set up once, and says nothing about what others cost.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last_shown = -math.inf
        self._spent = self._last_cost = 0.0
        self._is_first = True

    def allows(self) -> bool:
        """Tell whether a preview is due and, at the last one's cost, stays within the share."""
        now = time.monotonic()
        due = now - self._last_shown >= MIN_INTERVAL
        return due and self._spent + self._last_cost <= MAX_TIME_SHARE * (now - self._start)

    def render(self, latent_preview: LatentPreview, latents: torch.Tensor) -> Preview:
        """Render a preview and count its time."""
        _synchronize(latents.device)  # the step's own time does not count
        start = time.monotonic()
        preview = latent_preview.render(latents)
        self._last_shown = time.monotonic()
        if not self._is_first:
            self._last_cost = self._last_shown - start
            self._spent += self._last_cost
        self._is_first = False
        return preview


def _synchronize(device: torch.device) -> None:
    """Wait until a GPU, which runs asynchronously, has finished its queue."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def load_preview_map(
    folder: Path | None, codebook: torch.Tensor | None = None
) -> LatentPreview | None:
    """Return the map stored in a model's folder, None if there is none."""
    file = None if folder is None else folder / "preview.json"
    if file is None or not file.is_file():
        return None
    stored = cast(dict[str, Any], json.loads(file.read_text()))
    weight, bias = (torch.tensor(stored[name]).float() for name in ("weight", "bias"))
    return LatentPreview(weight, bias, codebook)


def codebook_of(vqvae: Any) -> torch.Tensor:
    """Return the codebook of a diffusers VQModel, (tokens, channels), on the CPU."""
    return vqvae.quantize.embedding.weight.detach().float().cpu()


def fit_token_preview(
    codebook: torch.Tensor,
    decode: Callable[[torch.Tensor], torch.Tensor],
    folder: Path | None = None,
) -> LatentPreview:
    """Return the map of a token model: the one stored in its folder, or one fitted to its decoder.

    The codebook is (tokens, channels), on the CPU; `decode` turns vectors from it, of shape
    (1, channels, height, width), into a picture with values from 0 to 1.
    """

    def nearest(noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spread = noise[0].flatten(1).T * codebook.std(0) + codebook.mean(0)
        tokens = torch.cdist(spread, codebook).argmin(1)
        vectors = codebook[tokens].T.reshape(1, -1, _PROBE_SIDE, _PROBE_SIDE)
        return vectors, decode(vectors)

    return load_preview_map(folder, codebook) or fit_preview_map(
        codebook.shape[1], nearest, codebook
    )


def decode_vectors(vqvae: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Decode vectors of the codebook with the decoder of a diffusers VQModel."""
    inputs = vectors.to(vqvae.device, vqvae.dtype)
    spatial = vqvae.config.norm_type == "spatial"
    return vqvae.decoder(vqvae.post_quant_conv(inputs), inputs if spatial else None)


@torch.no_grad()
def fit_preview_map(
    channels: int,
    decode: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    codebook: torch.Tensor | None = None,
) -> LatentPreview:
    """Fit the map to the decoded picture of a small random latent.

    `decode` takes the latent and returns the one actually used, and a picture from 0 to 1.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    # Neighbours in real latents are similar, so half of the noise is coarse.
    fine = torch.randn(1, channels, _PROBE_SIDE, _PROBE_SIDE, generator=generator)
    coarse = torch.randn(1, channels, _PROBE_SIDE // 4, _PROBE_SIDE // 4, generator=generator)
    noise = 0.7 * (fine + F.interpolate(coarse, scale_factor=4, mode="bilinear"))
    latent, picture = decode(noise)
    small = F.adaptive_avg_pool2d(picture.float().cpu().clamp(0, 1), _PROBE_SIDE)
    inputs = torch.cat([latent[0].flatten(1).T, torch.ones(_PROBE_SIDE * _PROBE_SIDE, 1)], dim=1)
    # Ridge term: a codebook may have as many dimensions as the probe has positions.
    gram = inputs.T @ inputs + 1e-2 * torch.eye(channels + 1)
    solution = torch.linalg.solve(gram, inputs.T @ small[0].flatten(1).T)
    return LatentPreview(solution[:-1], solution[-1], codebook)
