"""Export trained weights to the folders that ship: ordinary pipelines, fp16, small files."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

SHARD: Final = "9MB"
"""Largest weight file: no file may exceed 10 MB, so a larger model is saved in shards."""


def replace_folder(partial: Path, folder: Path) -> None:
    """Move a finished folder to its place; a reader sees the old one or the new one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def export(saved: Any, folder: Path, extras: dict[str, str] | None = None) -> None:
    """Save a pipeline or model (fp32) as fp16 safetensors; `extras` are further text files."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    slim = copy.deepcopy(saved).to(torch.float16)
    slim.save_pretrained(str(partial), safe_serialization=True, max_shard_size=SHARD)
    for config in partial.rglob("config.json"):
        _declare_fp32(config)
    for config in partial.rglob("tokenizer_config.json"):
        _remove_origin(config)
    for name, text in (extras or {}).items():
        (partial / name).write_text(text, "utf-8")
    for path in partial.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    replace_folder(partial, folder)


class ModelBundle:
    """A model and the objects saved in the same folder: a tokenizer, a processor."""

    def __init__(self, model: Any, *beside: Any) -> None:
        self._model, self._beside = model, beside

    def to(self, dtype: torch.dtype) -> "ModelBundle":
        """Cast the weights, as `export` does with everything that it saves."""
        self._model.to(dtype)
        return self

    def save_pretrained(self, folder: str, **how: Any) -> None:
        """Write all parts."""
        self._model.save_pretrained(folder, **how)
        for part in self._beside:
            part.save_pretrained(folder)


def _declare_fp32(config: Path) -> None:
    """Declare fp32 in a config, and remove the path that the model was loaded from.

    Transformers opens a model in the type that its config names, and processors need fp32.
    """

    def opened(values: dict[str, Any]) -> dict[str, Any]:
        values.pop("_name_or_path", None)
        return values | ({"dtype": "float32"} if "dtype" in values else {})

    values = json.loads(config.read_text("utf-8"), object_hook=opened)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def _remove_origin(config: Path) -> None:
    """Remove from a tokenizer's config whether it was opened from a local folder."""
    values = cast("dict[str, Any]", json.loads(config.read_text("utf-8")))
    for name in ("is_local", "local_files_only"):
        values.pop(name, None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def without_projection(encoder: CLIPTextModelWithProjection) -> CLIPTextModel:
    """Return the same text encoder as the class that Stable Diffusion uses."""
    plain = CLIPTextModel(encoder.config)
    prefix = "text_model."
    plain.load_state_dict(
        {
            name.removeprefix(prefix): value
            for name, value in encoder.state_dict().items()
            if name.startswith(prefix)
        }
    )
    return plain


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of parameters of these models."""
    return sum(value.numel() for module in modules for value in module.parameters())
