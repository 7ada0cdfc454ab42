"""Pipelines with random weights, as small as the real classes allow, in the real forms on disk.

The pictures are noise; everything else about them is as with Stable Diffusion: the same classes,
the same folders, the same callbacks.
"""

import json
import re
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.uvit_2d import UVit2DModel
from diffusers.pipelines.deprecated.amused.pipeline_amused import AmusedPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from diffusers.schedulers.scheduling_amused import AmusedScheduler
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from backends.base import Model, Sizes

SUPPORTS = frozenset(
    {
        "negative_prompt",
        "seed",
        "count",
        "num_inference_steps",
        "guidance_scale",
        "controls",
        "image",
        "strength",
    }
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
START, END = "<|startoftext|>", "<|endoftext|>"


def model(folder: Path | str, **changes: Any) -> Model:
    """A catalogue entry for a tiny pipeline."""
    entry: dict[str, Any] = {
        "id": "local/tiny",
        "label": "Tiny",
        "family": "diffusion",
        "source": str(folder),
        "supports": SUPPORTS,
        "sizes": Sizes(native=((64, 64),), multiple=16, least=32, most=256),
        "defaults": {"num_inference_steps": 4, "guidance_scale": 3.0},
    }
    return Model(**{**entry, **changes})


def diffusion(
    folder: Path,
    seed: int = 0,
    channels: int = 32,
    side: int = 64,
    *,
    latents: int = 8,
    checker: bool = False,
) -> Path:
    """A StableDiffusionPipeline with `latents` latent channels, saved in `folder`.

    With `checker` it has a safety checker that finds fault with everything.
    """
    torch.manual_seed(seed)
    vae = cast(Any, AutoencoderKL)(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=latents,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=side,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(folder / "tokenizer"),
        unet=_unet(channels, side // 8, latents),
        scheduler=cast(Any, _ddim()),
        safety_checker=cast(Any, _strict() if checker else None),
        feature_extractor=cast(Any, _eyes() if checker else None),
        requires_safety_checker=checker,
    )
    pipeline.save_pretrained(folder)
    return folder


def controlnet(folder: Path, pipeline: Path) -> Path:
    """A ControlNet that fits `pipeline` and, unlike a fresh one, changes the picture."""
    torch.manual_seed(7)
    unet = cast(Any, UNet2DConditionModel).from_pretrained(pipeline / "unet")
    net: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 32, 64))
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(torch.randn_like(weights) * 0.05)
    net.save_pretrained(folder)
    return folder


def masked(folder: Path) -> Path:
    """An AmusedPipeline on 64x64 pictures of 8x8 tokens, saved in `folder`."""
    torch.manual_seed(1)
    codes = 32
    vqvae = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=8,
        num_vq_embeddings=codes,
        norm_num_groups=4,
        sample_size=64,
        lookup_from_codebook=True,
        force_upcast=False,
    )
    transformer = UVit2DModel(
        hidden_size=32,
        cond_embed_dim=32,
        micro_cond_encode_dim=16,
        micro_cond_embed_dim=80,
        encoder_hidden_size=32,
        vocab_size=codes + 1,
        codebook_size=codes,
        in_channels=32,
        block_out_channels=32,
        num_res_blocks=1,
        downsample=True,
        upsample=True,
        block_num_heads=2,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        sample_size=8,
    )
    pipeline = AmusedPipeline(
        vqvae=vqvae,
        tokenizer=tokenizer(folder / "tokenizer"),
        text_encoder=CLIPTextModelWithProjection(text_config()),
        transformer=transformer,
        scheduler=AmusedScheduler(mask_token_id=codes),
    )
    pipeline.save_pretrained(folder)
    return folder


def single_file(file: Path, pipeline: Path) -> Path:
    """The weights of `pipeline` in one file, under the names that checkpoints go by.

    That of Stable Diffusion XL comes without its text encoders, as files of a denoiser do.
    """
    pipe: Any = cast(Any, DiffusionPipeline).from_pretrained(pipeline)
    layers = pipe.unet.config.layers_per_block
    attentive = ["Attn" in block for block in pipe.unet.config.up_block_types]
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in pipe.unet.state_dict().items():
        name = _blocks(_renamed(name, _UNET), layers, attentive)
        weights["model.diffusion_model." + name] = tensor
    for name, tensor in pipe.vae.state_dict().items():
        weights["first_stage_model." + _renamed(name, _VAE)] = tensor
    text = {} if hasattr(pipe, "text_encoder_2") else pipe.text_encoder.state_dict()
    for name, tensor in text.items():
        name = name if name.startswith("text_model.") else f"text_model.{name}"
        weights[f"cond_stage_model.transformer.{name}"] = tensor
    save_file({name: tensor.clone() for name, tensor in weights.items()}, file)
    return file


# What the parts of Stable Diffusion's checkpoints are called; `_blocks` has the numbers.
_UNET = {
    r"add_embedding\.linear_1": "label_emb.0.0",
    r"add_embedding\.linear_2": "label_emb.0.2",
    r"time_embedding\.linear_1": "time_embed.0",
    r"time_embedding\.linear_2": "time_embed.2",
    r"^conv_in": "input_blocks.0.0",
    r"^conv_norm_out": "out.0",
    r"^conv_out": "out.2",
    r"(resnets.*)norm1": r"\1in_layers.0",
    r"(resnets.*)conv1": r"\1in_layers.2",
    r"(resnets.*)norm2": r"\1out_layers.0",
    r"(resnets.*)conv2": r"\1out_layers.3",
    r"time_emb_proj": "emb_layers.1",
    r"conv_shortcut": "skip_connection",
    r"mid_block\.resnets\.0": "middle_block.0",
    r"mid_block\.attentions\.0": "middle_block.1",
    r"mid_block\.resnets\.1": "middle_block.2",
}
_VAE = {
    r"down_blocks\.(\d)\.resnets": r"down.\1.block",
    r"down_blocks\.(\d)\.downsamplers\.0": r"down.\1.downsample",
    **{rf"up_blocks\.{block}\.resnets": f"up.{3 - block}.block" for block in range(4)},
    **{rf"up_blocks\.{block}\.upsamplers\.0": f"up.{3 - block}.upsample" for block in range(4)},
    r"mid_block\.resnets\.0": "mid.block_1",
    r"mid_block\.resnets\.1": "mid.block_2",
    r"conv_norm_out": "norm_out",
    r"conv_shortcut": "nin_shortcut",
}


def _renamed(name: str, rules: dict[str, str]) -> str:
    for pattern, words in rules.items():
        name = re.sub(pattern, words, name)
    return name


def _blocks(name: str, layers: int, attentive: list[bool]) -> str:
    """Number the blocks of a U-Net as checkpoints do; `attentive` are those on the way up."""
    match = re.fullmatch(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|\w+samplers)\.(\d)\.(.*)", name
    )
    if match is None:
        return name
    way, block, part, layer = match[1], int(match[2]), match[3], int(match[4])
    place = 0 if part == "resnets" else 1
    if way == "down":
        number = 1 + block * (layers + 1) + (layers if part == "downsamplers" else layer)
        rest = match[5].replace("conv.", "op.") if part == "downsamplers" else match[5]
        return f"input_blocks.{number}.{0 if part == 'downsamplers' else place}.{rest}"
    number = block * (layers + 1) + (layers if part == "upsamplers" else layer)
    place += part == "upsamplers" and attentive[block]
    return f"output_blocks.{number}.{place}.{match[5]}"


def _unet(channels: int, side: int, latents: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=latents,
        out_channels=latents,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(channels, channels * 2),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def _strict() -> StableDiffusionSafetyChecker:
    """Every similarity is above a threshold of less than minus one."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    config = CLIPConfig(vision_config=vision, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(-2.0)
    return checker


def _eyes() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def _ddim() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer that knows bytes and no words."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    letters = [*map(chr, kept), *(chr(256 + index) for index in range(len(moved)))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    return CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=32,
    )
