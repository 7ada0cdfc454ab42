"""Masked tokens: aMUSEd, the open Muse, fills in picture tokens, the most certain ones first.

The paper is arXiv 2401.01808. Its classes are of diffusers' old style, and its form for start
pictures is too old for the table that diffusers keeps.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.deprecated.amused.pipeline_amused_img2img import AmusedImg2ImgPipeline

from backends.base import Event
from backends.local.families.base import Family
from backends.local.families.pipeline_call import LegacyPipelineCall, PipelineCall
from backends.local.families.preview import LatentPreview, codebook_of, decoded, token_look
from backends.local.job import LocalJob


class Masked(Family):
    """aMUSEd."""

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """One that knows where aMUSEd may start."""
        return _MaskedCall(pipeline, look, work, emit)

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """The image-to-image form; some of the picture's tokens are masked and drawn anew."""
        started: Any = AmusedImg2ImgPipeline(**pipeline.components)
        started.set_progress_bar_config(disable=True)
        return started

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vqvae = pipeline.vqvae  # its decoder draws from 0 to 1
        return token_look(codebook_of(vqvae), lambda codes: decoded(vqvae, codes), folder)


class _MaskedCall(LegacyPipelineCall):
    def _strength(self, strength: float) -> tuple[float, int]:
        """It knows no start from nothing: one step at least is the picture's."""
        steps = max(self._steps, 2)
        return min(strength, 1 - 1 / steps), steps

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """The tokens as they are, (height, width)."""
        return latents[0]
