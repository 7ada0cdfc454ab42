"""A tiny Z-Image in the real form on disk, and its ControlNet in one file, as it is published."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from tests.backends.local.tiny import transformers

_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
_SIZES: dict[str, Any] = {"dim": 48, "n_heads": 2, "n_kv_heads": 2, "n_refiner_layers": 1}


def z_image(folder: Path) -> Path:
    """A ZImagePipeline, saved in `folder`."""
    torch.manual_seed(4)
    transformer = ZImageTransformer2DModel(
        in_channels=4, n_layers=2, cap_feat_dim=32, axes_dims=[8, 8, 8], **_SIZES
    )
    with torch.no_grad():
        for weights in transformer.parameters():
            weights.add_(torch.randn_like(weights) * 0.02)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=transformers.vae(4),
        text_encoder=_reader(),
        tokenizer=cast(Any, _letters()),
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder


def controlnet(file: Path) -> Path:
    """A ControlNet for it that changes the picture: one file, its settings beside it."""
    torch.manual_seed(8)
    net = cast(Any, ZImageControlNetModel)(control_layers_places=[0], control_in_dim=4, **_SIZES)
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(torch.randn_like(weights) * 0.1)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), file)
    settings = {**net.config, "_class_name": "ZImageControlNetModel"}
    file.with_name("config.json").write_text(json.dumps(settings), "utf-8")
    return file


def _reader() -> Qwen3Model:
    return Qwen3Model(
        Qwen3Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
        )
    )


def _letters() -> PreTrainedTokenizerFast:
    words = {
        word: number for number, word in enumerate(["<pad>", "<unk>", *map(chr, range(97, 123))])
    }
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = cast(Any, pre_tokenizers.Split("", "isolated"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", chat_template=_TEMPLATE
    )
