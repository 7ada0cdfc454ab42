"""Pipelines with random weights, as large as the real ones: nothing is downloaded for a benchmark.

The numbers are those of the published configurations: Stable Diffusion 1.5, Stable Diffusion XL and
FLUX.1-schnell. Their pictures are noise, and cost what real ones cost. The tokenizers are tiny.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers


@dataclass(frozen=True, slots=True)
class Size:
    """One model to measure: how it is made, and with what settings it is usually drawn."""

    name: str
    make: Callable[[str, torch.dtype], Any]
    side: int
    steps: int
    guidance: float


def stable_diffusion(device: str, dtype: torch.dtype) -> Any:
    """As Stable Diffusion 1.5: 0.86 billion weights in the U-Net."""
    parts = _tiny(tiny.diffusion)
    with _made(device, dtype):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        return StableDiffusionPipeline(
            vae=_vae(4, 0.18215),
            text_encoder=CLIPTextModel(_clip(768, 12, 12)),
            tokenizer=parts.tokenizer,
            unet=unet,
            scheduler=parts.scheduler,
            safety_checker=cast(Any, None),
            feature_extractor=cast(Any, None),
            requires_safety_checker=False,
        )


def stable_diffusion_xl(device: str, dtype: torch.dtype) -> Any:
    """As Stable Diffusion XL: 2.6 billion weights in the U-Net."""
    parts = _tiny(tiny.diffusion)
    with _made(device, dtype):
        unet = cast(Any, UNet2DConditionModel)(
            sample_size=128,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=[1, 2, 10],
            attention_head_dim=[5, 10, 20],
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        return StableDiffusionXLPipeline(
            vae=_vae(4, 0.13025),
            text_encoder=CLIPTextModel(_clip(768, 12, 12)),
            text_encoder_2=CLIPTextModelWithProjection(_clip(1280, 32, 20)),
            tokenizer=parts.tokenizer,
            tokenizer_2=parts.tokenizer,
            unet=unet,
            scheduler=parts.scheduler,
        )


def flux(device: str, dtype: torch.dtype) -> Any:
    """As FLUX.1-schnell: 12 billion weights in the transformer, 4.8 in its T5."""
    parts = _tiny(transformers.flux)
    with _made(device, dtype):
        config = T5Config(
            vocab_size=32128,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
        return FluxPipeline(
            vae=_vae(
                16, 0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False
            ),
            text_encoder=CLIPTextModel(_clip(768, 12, 12)),
            text_encoder_2=T5EncoderModel(config),
            tokenizer=parts.tokenizer,
            tokenizer_2=parts.tokenizer_2,
            transformer=FluxTransformer2DModel(),
            scheduler=parts.scheduler,
        )


SIZES: Final = (
    Size("Stable Diffusion 1.5", stable_diffusion, 512, 30, 7.5),
    Size("Stable Diffusion XL", stable_diffusion_xl, 1024, 30, 5.0),
    Size("FLUX.1-schnell", flux, 1024, 4, 0.0),
)


@contextmanager
def _made(device: str, dtype: torch.dtype) -> Generator[None]:
    """Make networks on `device` in `dtype` from the start: nobody has RAM for them in 32 bit."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _tiny(make: Callable[[Path], Path]) -> Any:
    """A tiny pipeline of the same class, for its tokenizers and its scheduler."""
    with TemporaryDirectory() as folder:
        return DiffusionPipeline.from_pretrained(make(Path(folder)))


def _vae(channels: int, scaling_factor: float, **more: Any) -> AutoencoderKL:
    return cast(Any, AutoencoderKL)(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=channels,
        scaling_factor=scaling_factor,
        **more,
    )


def _clip(width: int, layers: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
