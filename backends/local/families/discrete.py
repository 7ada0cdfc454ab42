"""Discrete diffusion: random and masked tokens are corrected step by step (VQ-Diffusion).

The paper is arXiv 2111.14822. The pipeline is diffusers' own, but since it was deprecated diffusers
(0.42.1) cannot resolve the class name of one component in model_index.json, neither the name in the
original weights nor the one that it writes today, and loads neither. So the components are loaded
one by one here.
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
from backends.local.families.preview import (
    LatentPreview,
    codebook_of,
    decode_vectors,
    fit_token_preview,
)
from backends.local.finite import NonFinite, Part
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights.sources import variant_in

_LIKELIEST: Final = 32
"""Tokens of a cell that are sorted in the first attempt."""
_COMPONENTS: Final[dict[str, Any]] = {
    "vqvae": VQModel,
    "transformer": Transformer2DModel,
    "text_encoder": CLIPTextModel,
    "learned_classifier_free_sampling_embeddings": LearnedClassifierFreeSamplingEmbeddings,
}


class Discrete(Family):
    """VQ-Diffusion, which has neither an image-to-image pipeline nor a ControlNet."""

    offloads: ClassVar[bool] = False  # its pipeline runs on the device of its weights

    def load(self, path: Path, spec: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Load the pipeline from its folder."""
        return read(path, dtype, spec.variant or variant_in(path, device.kind))

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return a call that arranges the tokens for previews."""
        return _DiscreteCall(pipeline, latent_preview, job, emit)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vqvae = pipeline.vqvae  # its decoder draws from -1 to 1
        return fit_token_preview(
            codebook_of(vqvae), lambda codes: decode_vectors(vqvae, codes) / 2 + 0.5, folder
        )


class _DiscreteCall(LegacyPipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        return super()._keyword_arguments() | {"truncation_rate": self._job.truncation_rate}

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the flat tokens of the first, square picture as (height, width)."""
        side = math.isqrt(latents.shape[1])
        return latents[0].reshape(side, side)


def read(
    folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None
) -> VQDiffusionPipeline:
    """Load the pipeline in `folder`, one component after the other."""
    weights = {
        name: kind.from_pretrained(
            str(folder / name),
            dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
        )
        for name, kind in _COMPONENTS.items()
    }
    tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    scheduler: Any = VQDiffusionScheduler.from_pretrained(str(folder / "scheduler"))
    pipeline: Any = cast(Any, VQDiffusionPipeline)(
        tokenizer=tokenizer, scheduler=scheduler, **weights
    )
    pipeline.truncate = truncated
    return pipeline


def truncated(log_probabilities: torch.Tensor, rate: float) -> torch.Tensor:
    """Return log-probabilities (batch, tokens, cells) truncated to each cell's likeliest tokens.

    A token stays while the likelier ones sum to less than `rate`, so the first always stays, as in
    the paper's truncation sampling. The result equals the pipeline's own `truncate`, which sorts
    all tokens of all cells at every step: with a small model, two thirds of the time. A few of the
    likeliest are nearly always enough.

    Raises:
        NonFinite: they are not numbers, and whatever tokens came of them would be arbitrary.
    """
    if bool(log_probabilities.isnan().any()):
        raise NonFinite(Part.TOKENS)
    if rate >= 1:
        return log_probabilities
    tokens = log_probabilities.shape[1]
    count = min(_LIKELIEST, tokens)
    while True:
        top, indices = log_probabilities.topk(count, dim=1)
        cumulated = top.exp().cumsum(1) - top.exp()
        if count == tokens or bool((cumulated[:, -1] >= rate).all()):
            break
        count = min(8 * count, tokens)
    mask = cumulated < rate
    mask[:, 0] = True
    top = top.where(mask, torch.full_like(top, -torch.inf))
    return torch.full_like(log_probabilities, -torch.inf).scatter(1, indices, top)
