"""Masked image tokens: aMUSEd, an open Muse, predicts tokens, the most confident ones first.

The paper is arXiv 2401.01808. Its classes have diffusers' legacy interface, and its image-to-image
pipeline is missing in the table of diffusers' AutoPipeline.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.deprecated.amused.pipeline_amused_img2img import AmusedImg2ImgPipeline

from backends.base import Event
from backends.local.families.base import Family
from backends.local.families.pipeline_call import LegacyPipelineCall, PipelineCall
from backends.local.families.preview import (
    LatentPreview,
    codebook_of,
    decode_vectors,
    fit_token_preview,
)
from backends.local.job import LocalJob


class Masked(Family):
    """aMUSEd."""

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return a call with aMUSEd's bound on the strength."""
        return _MaskedCall(pipeline, latent_preview, job, emit)

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """Return the image-to-image variant, which masks and redraws some of the tokens."""
        image_to_image: Any = AmusedImg2ImgPipeline(**pipeline.components)
        image_to_image.set_progress_bar_config(disable=True)
        return image_to_image

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vqvae = pipeline.vqvae  # its decoder draws from 0 to 1
        return fit_token_preview(
            codebook_of(vqvae), lambda codes: decode_vectors(vqvae, codes), folder
        )


class _MaskedCall(LegacyPipelineCall):
    def _strength(self, strength: float) -> tuple[float, int]:
        """Keep one step of the initial picture: the pipeline does not support strength 1."""
        steps = max(self._steps, 2)
        return min(strength, 1 - 1 / steps), steps

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the first picture's tokens, (height, width)."""
        return latents[0]
