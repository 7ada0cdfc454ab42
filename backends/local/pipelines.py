"""Read a model from this machine into memory: a folder, a single file, a ControlNet.

Everything here has been fetched already; nothing here talks to the Hub, except that a single
file without a layout beside it asks for the small configuration files of its family.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import diffusers
import torch
from diffusers.models.auto_model import AutoModel
from diffusers.pipelines.auto_pipeline import (
    AutoPipelineForImage2Image,
    AutoPipelineForText2Image,
)
from diffusers.pipelines.deprecated.amused.pipeline_amused import AmusedPipeline
from diffusers.pipelines.deprecated.amused.pipeline_amused_img2img import AmusedImg2ImgPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from backends.errors import BadInput, MissingWeights
from backends.local.device import Device
from backends.local.memory import Held
from backends.local.preview import Look, look_of
from backends.local.sources import Kind, Source, fault, find, locate, snapshot
from backends.local.work import Recipe

_DTYPES: Final = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline (or, without a scheduler, a ControlNet) that is ready to draw."""

    model: Any
    scheduler: Any = None
    look: Look | None = None


def load_pipeline(recipe: Recipe, device: Device) -> Held[Loaded]:
    """Read the pipeline of `recipe` and move it to `device`."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    source = locate(recipe.source)
    path = _found(source, recipe.label)
    dtype = _dtype(recipe, device)
    if source.kind is Kind.FILE:
        pipeline = _from_file(path, recipe, dtype)
    else:
        pipeline = DiffusionPipeline.from_pretrained(
            str(path),
            dtype=dtype,
            variant=recipe.variant or variant_in(path, device),
            use_safetensors=True,
            local_files_only=True,
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device.name)
    look = look_of(pipeline, None if source.kind is Kind.FILE else path)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return Held(Loaded(pipeline, pipeline.scheduler, look), _weight(parts))


def load_controlnet(recipe: Recipe, device: Device) -> Held[Loaded]:
    """Read the ControlNet of `recipe`, of whatever class, and move it to `device`."""
    path = _found(locate(recipe.source), recipe.label)
    model: Any = AutoModel.from_pretrained(
        str(path),
        dtype=_dtype(recipe, device),
        variant=recipe.variant or variant_in(path, device),
        use_safetensors=True,
        local_files_only=True,
    )
    return Held(Loaded(model.to(device.name)), _weight([model]))


def steered(pipeline: Any, controlnet: Any, label: str) -> Any:
    """The ControlNet form of `pipeline`, which shares all its weights."""
    try:
        steered: Any = AutoPipelineForText2Image.from_pipe(pipeline, controlnet=controlnet)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(
            f"{label} cannot be steered: diffusers has no ControlNet for this kind of model. "
            "Run it without the control picture."
        ) from error
    if getattr(steered, "controlnet", None) is not controlnet:
        raise BadInput(f"{label} cannot be steered. Run it without the control picture.")
    steered.set_progress_bar_config(disable=True)
    return steered


def started(pipeline: Any, label: str) -> Any:
    """The form of `pipeline` that starts from a picture; it shares all its weights."""
    try:
        if isinstance(pipeline, AmusedPipeline):  # too old for the table that diffusers keeps
            started: Any = AmusedImg2ImgPipeline(**pipeline.components)
        else:
            started = AutoPipelineForImage2Image.from_pipe(pipeline)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(
            f"{label} cannot start from a picture: diffusers has no such form of this kind of "
            "model. Run it without the start picture, or choose another model."
        ) from error
    started.set_progress_bar_config(disable=True)
    return started


def variant_in(folder: Path, device: Device) -> str | None:
    """The variant to read: half precision on a GPU where it is there, or where nothing else is."""
    files = list(folder.glob("**/*.safetensors"))
    half = [file for file in files if ".fp16" in file.name]
    return "fp16" if half and (device.kind != "cpu" or len(half) == len(files)) else None


def _from_file(path: Path, recipe: Recipe, dtype: torch.dtype) -> Any:
    from diffusers.loaders import single_file_utils

    config = recipe.config
    if config:
        layout = locate(config)
        config = config if layout.kind is Kind.HUB else str(layout.path)
    else:
        checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
        config = single_file_utils.fetch_diffusers_config(checkpoint)[
            "pretrained_model_name_or_path"
        ]
    index = cast(dict[str, Any], DiffusionPipeline.load_config(config))
    kind: Any = getattr(diffusers, str(index["_class_name"]))
    return kind.from_single_file(str(path), config=config, dtype=dtype)


def _found(source: Source, label: str) -> Path:
    path = find(source, label)
    if path is not None:
        return path
    folder = snapshot(source.id)  # fetched just now, and yet not whole
    problem = None if folder is None else fault(folder, label)
    raise problem or MissingWeights(f"The weights of {label} are not on this machine.")


def _dtype(recipe: Recipe, device: Device) -> torch.dtype:
    name = recipe.dtype or device.dtype
    if name not in _DTYPES:
        raise BadInput(f"'{name}' is no number format. Use one of {', '.join(sorted(_DTYPES))}.")
    return cast(torch.dtype, getattr(torch, name))


def _weight(modules: list[torch.nn.Module]) -> int:
    """The bytes of all weights; those that two parts share count once."""
    tensors: dict[int, torch.Tensor] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            tensors[tensor.data_ptr()] = tensor
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
