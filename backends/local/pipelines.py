"""Read a model of any family from this machine into memory, and the ControlNets beside it.

Everything here has been fetched already; nothing here talks to the Hub, except that a single
file without a layout beside it asks for the small configuration files of its family.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers.models.auto_model import AutoModel
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from backends.errors import BadInput, MissingWeights
from backends.local.device import Device
from backends.local.families import family_of
from backends.local.family import Family
from backends.local.memory import Held
from backends.local.preview import Look
from backends.local.sources import Source, fault, find, locate, snapshot, variant_in
from backends.local.work import Recipe

_DTYPES: Final = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline (or, without a scheduler, a ControlNet) that is ready to draw."""

    model: Any
    scheduler: Any = None
    look: Look | None = None
    family: Family = field(default_factory=Family)


def load_pipeline(recipe: Recipe, device: Device) -> Held[Loaded]:
    """Read the pipeline of `recipe` and move it to `device`."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    path = _found(locate(recipe.source), recipe.label)
    family = family_of(path)
    pipeline = family.load(path, recipe, _dtype(recipe, device), device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device.name)
    look = family.look(pipeline, None if path.is_file() else path)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return Held(Loaded(pipeline, pipeline.scheduler, look, family), _weight(parts))


def load_controlnet(recipe: Recipe, device: Device) -> Held[Loaded]:
    """Read the ControlNet of `recipe`, of whatever class, and move it to `device`."""
    path = _found(locate(recipe.source), recipe.label)
    model: Any = AutoModel.from_pretrained(
        str(path),
        dtype=_dtype(recipe, device),
        variant=recipe.variant or variant_in(path, device.kind),
        use_safetensors=True,
        local_files_only=True,
    )
    return Held(Loaded(model.to(device.name)), _weight([model]))


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
