"""LoRAs and embeddings with random weights, in the real forms on disk."""

import re
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import save_file

_LAYERS = re.compile(r"(to_[qkv]|to_out\.0|[qkv]_proj|out_proj)$")
_KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def lora(
    file: Path,
    model: Path | str,
    parts: tuple[str, ...] = ("unet", "text_encoder"),
    *,
    kohya: bool = False,
    seed: int = 0,
    strength: float = 0.3,
) -> Path:
    """A low-rank change of the attention layers of `model`, as diffusers or kohya's scripts say."""
    pipeline = cast(Any, DiffusionPipeline).from_pretrained(model, local_files_only=True)
    dice = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for part in parts:
        for name, layer in getattr(pipeline, part).named_modules():
            if not (isinstance(layer, torch.nn.Linear) and _LAYERS.search(name)):
                continue
            down = torch.randn(2, layer.in_features, generator=dice) * strength
            up = torch.randn(layer.out_features, 2, generator=dice) * strength
            if kohya:
                name = name if part == "unet" else f"text_model.{name}"
                layer = f"{_KOHYA[part]}_{name.replace('.', '_')}"
                weights[f"{layer}.lora_down.weight"] = down
                weights[f"{layer}.lora_up.weight"] = up
                weights[f"{layer}.alpha"] = torch.tensor(2.0)
            else:
                weights[f"{part}.{name}.lora_A.weight"] = down
                weights[f"{part}.{name}.lora_B.weight"] = up
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file)
    return file


def embedding(file: Path, key: str = "emb_params", width: int = 32, *, count: int = 2) -> Path:
    """The embeddings of a word, under a name that the web UI or diffusers gives them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: torch.randn(count, width, generator=torch.Generator().manual_seed(1))}, file)
    return file
