"""Discrete diffusion: noise is wrong and missing tokens, put right step by step (VQ-Diffusion).

The paper is arXiv 2111.14822. The pipeline is diffusers' own, but since it moved among the
deprecated ones diffusers (0.42.1) does not find the class of one of its parts by the name that
stands in model_index.json, neither the name in the first weights nor the one that it writes itself
today, and opens none of them. So the parts are read one by one here.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
    LearnedClassifierFreeSamplingEmbeddings,
    VQDiffusionPipeline,
)
from diffusers.schedulers.scheduling_vq_diffusion import VQDiffusionScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from backends.base import Event
from backends.local.families.base import Family
from backends.local.families.pipeline_call import LegacyPipelineCall, PipelineCall
from backends.local.families.preview import LatentPreview, codebook_of, decoded, token_look
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights.sources import variant_in

_LIKELIEST: Final = 32
"""Tokens of a cell that are sorted at first."""
_WEIGHTS: Final[dict[str, Any]] = {
    "vqvae": VQModel,
    "transformer": Transformer2DModel,
    "text_encoder": CLIPTextModel,
    "learned_classifier_free_sampling_embeddings": LearnedClassifierFreeSamplingEmbeddings,
}


class Discrete(Family):
    """VQ-Diffusion. It has neither a form for start pictures nor a ControlNet."""

    offloads: ClassVar[bool] = False  # its pipeline works where its weights lie, and only there

    def load(self, path: Path, recipe: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Read the pipeline from its folder."""
        return read(path, dtype, recipe.variant or variant_in(path, device.kind))

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """One that knows how its tokens lie."""
        return _DiscreteCall(pipeline, look, work, emit)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vqvae = pipeline.vqvae  # its decoder draws from -1 to 1
        return token_look(codebook_of(vqvae), lambda codes: decoded(vqvae, codes) / 2 + 0.5, folder)


class _DiscreteCall(LegacyPipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        return super()._keyword_arguments() | {"truncation_rate": self._work.truncation_rate}

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """The tokens of a square picture, which come in a row, as (height, width)."""
        side = math.isqrt(latents.shape[1])
        return latents[0].reshape(side, side)


def read(
    folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None
) -> VQDiffusionPipeline:
    """Read the pipeline in `folder`, part by part."""
    weights = {
        name: kind.from_pretrained(
            str(folder / name),
            dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
        )
        for name, kind in _WEIGHTS.items()
    }
    tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    scheduler: Any = VQDiffusionScheduler.from_pretrained(str(folder / "scheduler"))
    pipeline: Any = cast(Any, VQDiffusionPipeline)(
        tokenizer=tokenizer, scheduler=scheduler, **weights
    )
    pipeline.truncate = truncated
    return pipeline


def truncated(log_shares: torch.Tensor, rate: float) -> torch.Tensor:
    """Log-probabilities (batch, tokens, cells) with only each cell's likeliest tokens left.

    Tokens stay until those before them make up `rate` of all, the first one always, as in the
    paper's truncation sampling. The result is the pipeline's own `truncate`, which sorts all
    tokens of all cells at every step: with a small model, two thirds of the time. A few of
    the likeliest are nearly always enough.
    """
    if rate >= 1:
        return log_shares
    tokens = log_shares.shape[1]
    seen = min(_LIKELIEST, tokens)
    while True:
        found, places = log_shares.topk(seen, dim=1)
        before = found.exp().cumsum(1) - found.exp()
        if seen == tokens or bool((before[:, -1] >= rate).all()):
            break
        seen = min(8 * seen, tokens)
    kept = before < rate
    kept[:, 0] = True
    found = found.where(kept, torch.full_like(found, -torch.inf))
    return torch.full_like(log_shares, -torch.inf).scatter(1, places, found)
