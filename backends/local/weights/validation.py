"""Whether a model can be what it says it is: looked at before it is read, and after.

The libraries read much without a word that cannot draw: integers where weights should be, a file
with half of the layers, whose others keep the random numbers they were born with.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from backends.errors import MissingWeights, NotReady
from backends.local.job import ModelSpec
from backends.local.weights.headers import integer_weights
from backends.local.weights.sources import class_of

_ENOUGH: Final = 0.99
"""Share of a part's numbers that its files must hold: a buffer or two may be left out of them."""


def check_class(path: Path, label: str) -> None:
    """Look at a folder's class before anything is read.

    Raises:
        NotReady: diffusers does not know it, or what it draws does not come from a prompt.
    """
    name = class_of(path)
    if not (path / "model_index.json").is_file():
        raise NotReady(
            f"{label} is a model of the type '{name}', which is not a text-to-image model that "
            "Lineup can draw with. Choose the folder of a diffusers pipeline, or a Janus."
        )
    kind: Any = getattr(diffusers, name, None)
    if kind is None:
        raise NotReady(
            f"{label} is a {name}, which this version of diffusers does not have. "
            "Update it (pip install -U diffusers), or choose another model."
        )
    if "prompt" not in inspect.signature(kind.__call__).parameters:
        raise NotReady(
            f"{label} is a {name}, which takes no prompt, so it is not a text-to-image model. "
            "Choose another one."
        )


def check_dtypes(path: Path, variant: str | None, label: str) -> None:
    """Look at the headers of the files that would be read.

    Raises:
        MissingWeights: they hold integers.
    """
    part = integer_weights(path, variant) if path.is_dir() else None
    if part is not None:
        raise MissingWeights(
            f"{_weights(part, label)} are whole numbers, without the settings that would turn "
            "them back. Use a version in half or full precision."
        )


def check_complete(parts: Mapping[str, Any], recipe: ModelSpec, counts: Mapping[str, int]) -> None:
    """Look at what was read; `counts` are the numbers in the files of each part, where known.

    What is no network may be among the parts. What lies in no part's folder ("") is any part's.

    Raises:
        MissingWeights: a part has layers that no file filled.
    """
    for name, part in parts.items():
        if not isinstance(part, torch.nn.Module):
            continue
        missing = any(weight.is_meta for weight in part.parameters())
        held = sum(weight.numel() for weight in part.parameters())
        told = counts.get(name, counts.get("", held))
        packed = recipe.quantization or hasattr(part, "hf_quantizer")
        if missing or (not packed and told < _ENOUGH * held):
            raise MissingWeights(
                f"{_weights(name, recipe.label)} leave layers of its class {type(part).__name__} "
                "empty. They are incomplete, or of another model: download it again."
            )


def _weights(part: str, label: str) -> str:
    return f"The weights of '{part}' of {label}" if part else f"The weights of {label}"
