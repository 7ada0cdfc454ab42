"""Tiny models that denoise with a transformer, in the real forms on disk: SD 3, FLUX, PixArt."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from tokenizers import Tokenizer, models
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.backends.local.tiny import models as tiny

_HOW: dict[str, dict[str, int]] = {
    "FluxPipeline": {
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
    },
    "StableDiffusion3Pipeline": {"num_layers": 1, "num_extra_conditioning_channels": 0},
}


def sd3(folder: Path, layers: int = 1) -> Path:
    """A StableDiffusion3Pipeline, saved in `folder`; no ControlNet steers its last layer."""
    torch.manual_seed(2)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
    )
    pipeline = StableDiffusion3Pipeline(
        vae=vae(4),
        text_encoder=CLIPTextModelWithProjection(tiny.text_config()),
        tokenizer=tiny.tokenizer(folder / "tokenizer"),
        text_encoder_2=CLIPTextModelWithProjection(tiny.text_config()),
        tokenizer_2=tiny.tokenizer(folder / "tokenizer_2"),
        text_encoder_3=_t5(64),
        tokenizer_3=_pieces(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipeline.save_pretrained(folder)
    return folder


def flux(folder: Path, *, dynamic: bool = True) -> Path:
    """A FluxPipeline, saved in `folder`; `dynamic` shifts with the size, as FLUX.1-dev does."""
    torch.manual_seed(3)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=dynamic, shift=3.0 if dynamic else 1.0
        ),
        vae=vae(4),
        text_encoder=CLIPTextModel(tiny.text_config()),
        tokenizer=tiny.tokenizer(folder / "tokenizer"),
        text_encoder_2=_t5(32),
        tokenizer_2=_pieces(),
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder


def pixart(folder: Path) -> Path:
    """A PixArtAlphaPipeline, of the noise levels' kind and without LoRAs, saved in `folder`."""
    torch.manual_seed(4)
    transformer = PixArtTransformer2DModel(
        sample_size=32,  # the least that it knows a table of sizes for
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        cross_attention_dim=32,
        caption_channels=32,
        use_additional_conditions=False,
    )
    pipeline = PixArtAlphaPipeline(
        tokenizer=_pieces(),
        text_encoder=_t5(32),
        vae=vae(4),
        transformer=transformer,
        scheduler=cast(Any, DPMSolverMultistepScheduler()),
    )
    pipeline.save_pretrained(folder)
    return folder


def vae(channels: int) -> AutoencoderKL:
    """An untrained one, in the form of flow models: its latents are shifted and scaled."""
    return cast(Any, AutoencoderKL)(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
        sample_size=64,
    )


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=32, d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=2)
    )


def _pieces() -> T5Tokenizer:
    """A T5 tokenizer that knows letters."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [(piece, -float(number)) for number, piece in enumerate(pieces)]
    return T5Tokenizer(
        tokenizer_object=Tokenizer(models.Unigram(vocabulary, unk_id=2)), extra_ids=0
    )


def controlnet(folder: Path, pipeline: Path) -> Path:
    """A ControlNet that fits `pipeline` and, unlike a fresh one, changes the picture."""
    torch.manual_seed(7)
    kind = str(json.loads((pipeline / "model_index.json").read_text("utf-8"))["_class_name"])
    classes: tuple[Any, Any] = (
        (FluxTransformer2DModel, FluxControlNetModel)
        if kind == "FluxPipeline"
        else (SD3Transformer2DModel, SD3ControlNetModel)
    )
    transformer = classes[0].from_pretrained(pipeline / "transformer")
    net = classes[1].from_transformer(
        transformer, load_weights_from_transformer=False, **_HOW[kind]
    )
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(torch.randn_like(weights) * 0.05)
    net.save_pretrained(folder)
    return folder
