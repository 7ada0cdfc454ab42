"""A tiny Stable Diffusion XL with random weights, in the real form on disk."""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.backends.local.tiny import models as tiny


def sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline of 64x64 pictures, saved in `folder`."""
    torch.manual_seed(6)
    vae = cast(Any, AutoencoderKL)(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=64,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=16,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(tiny.text_config()),
        tokenizer=tiny.tokenizer(folder / "tokenizer"),
        text_encoder_2=CLIPTextModelWithProjection(tiny.text_config()),
        tokenizer_2=tiny.tokenizer(folder / "tokenizer_2"),
        unet=unet,
        scheduler=cast(Any, EulerDiscreteScheduler(beta_schedule="scaled_linear")),
    )
    pipeline.save_pretrained(folder)
    return folder
