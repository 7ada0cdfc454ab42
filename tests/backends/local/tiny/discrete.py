"""A VQ-Diffusion with random weights, as small as its classes allow, in the real form on disk."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
    LearnedClassifierFreeSamplingEmbeddings,
    VQDiffusionPipeline,
)
from diffusers.schedulers.scheduling_vq_diffusion import VQDiffusionScheduler
from transformers import CLIPTextModel

from tests.backends.local.tiny.models import text_config, tokenizer

CODES = 32
STEPS = 20
"""For so many it is made; it can take fewer."""


def discrete(folder: Path, variant: str | None = None) -> Path:
    """A VQDiffusionPipeline of 8x8 tokens and 64x64 pixels, saved in `folder`."""
    torch.manual_seed(4)
    words = tokenizer(folder / "tokenizer")
    settings = text_config()
    pipeline: Any = VQDiffusionPipeline(
        vqvae=cast(Any, VQModel)(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=4,
            vq_embed_dim=4,
            num_vq_embeddings=CODES,
            norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(settings),
        tokenizer=words,
        transformer=cast(Any, Transformer2DModel)(
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            cross_attention_dim=settings.hidden_size,
            attention_bias=True,
            sample_size=8,
            num_vector_embeds=CODES + 1,
            activation_fn="geglu-approximate",
            norm_type="ada_norm",
            num_embeds_ada_norm=STEPS,
        ),
        scheduler=VQDiffusionScheduler(num_vec_classes=CODES + 1, num_train_timesteps=STEPS),
        learned_classifier_free_sampling_embeddings=LearnedClassifierFreeSamplingEmbeddings(
            learnable=True, hidden_size=settings.hidden_size, length=words.model_max_length
        ),
    )
    if variant == "fp16":
        pipeline.to(torch.float16)
    pipeline.save_pretrained(str(folder), variant=variant)
    _named_as_in_2022(folder / "model_index.json")
    return folder


def _named_as_in_2022(index: Path) -> None:
    """The real weights name a class by the module where it lay when they were saved."""
    parts = json.loads(index.read_text())
    parts["learned_classifier_free_sampling_embeddings"][0] = "vq_diffusion"
    index.write_text(json.dumps(parts))
