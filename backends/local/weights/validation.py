"""Validate a model before and after loading.

The libraries load unusable weights without an error: integers, or a file with half of the layers,
where the others keep their random initialization.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from backends.base import Applied
from backends.errors import MissingWeights, NotReady
from backends.local.job import ModelSpec
from backends.local.weights.headers import integer_weights
from backends.local.weights.sources import class_of

DENOISERS: Final = ("unet", "transformer", "prior", "decoder")
"""The components that draw, under their names in the pipelines."""

_MIN_SHARE: Final = 0.99
"""Share of a component's parameters that its files must hold: they may omit a few buffers."""


def check_class(path: Path, label: str) -> None:
    """Check the pipeline class of a folder before anything is loaded.

    Raises:
        NotReady: diffusers has no such class, or it takes no prompt.
    """
    name = class_of(path)
    kind: Any = getattr(diffusers, name, None)
    if kind is None:
        raise NotReady(
            f"{label} is a {name}, which this version of diffusers does not have. "
            "Update it (pip install -U diffusers), or choose another model."
        )
    parameters = inspect.signature(kind.__call__).parameters
    for taken, parameter in parameters.items():
        if parameter.default is parameter.empty and re.search("image|video", taken):
            raise NotReady(
                f"{label} is a {name}, which needs a picture ({taken}) and cannot draw from a "
                "prompt alone. Choose a text-to-image model."
            )
    if "prompt" not in parameters:
        raise NotReady(
            f"{label} is a {name}, which takes no prompt, so it is not a text-to-image model. "
            "Choose another one."
        )


def check_dtypes(path: Path, variant: str | None, label: str) -> None:
    """Check the headers of the files that would be loaded.

    Raises:
        MissingWeights: the weights are integers.
    """
    part = integer_weights(path, variant) if path.is_dir() else None
    if part is not None:
        raise MissingWeights(
            f"{_weights_of(part, label)} are whole numbers, without the settings that would turn "
            "them back. Use a version in half or full precision."
        )


def check_complete(parts: Mapping[str, Any], spec: ModelSpec, counts: Mapping[str, int]) -> None:
    """Check loaded components against `counts`, the known parameter counts of their files.

    Components that are not networks are skipped. The count of "" applies to any component.

    Raises:
        MissingWeights: a component has layers whose weights were in no file.
    """
    for name, part in parts.items():
        if not isinstance(part, torch.nn.Module):
            continue
        missing = any(weight.is_meta for weight in part.parameters())
        expected = sum(weight.numel() for weight in part.parameters())
        found = counts.get(name, counts.get("", expected))
        quantized = spec.quantization or hasattr(part, "hf_quantizer")
        if missing or (not quantized and found < _MIN_SHARE * expected):
            raise MissingWeights(
                f"{_weights_of(name, spec.label)} leave layers of its class {type(part).__name__} "
                "empty. They are incomplete, or of another model: download it again."
            )


def unused_weights(
    parts: Mapping[str, Any], spec: ModelSpec, counts: Mapping[str, int], unknown: Sequence[str]
) -> dict[str, Applied]:
    """Return a note for the card if the files hold more weights than the model has taken.

    `counts` are the numbers in the files for each component, `unknown` the weights of no component.
    Only components that draw count: text encoders are published with parts for other tasks.
    """
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    notes = [f"{unknown[0]}{more} ignored: of no part of the model"] if unknown else []
    for name in (*DENOISERS, "vae"):
        part = parts.get(name)
        quantized = spec.quantization or hasattr(part, "hf_quantizer")
        if quantized or not isinstance(part, torch.nn.Module):
            continue
        unused = counts.get(name, 0) - sum(each.numel() for each in part.state_dict().values())
        if unused > 0:
            notes.append(f"{unused:,} of the weights of '{name}' ignored: not in its layout")
    label = spec.label
    return {"weights": Applied(label, label, "; ".join(notes))} if notes else {}


def _weights_of(part: str, label: str) -> str:
    return f"The weights of '{part}' of {label}" if part else f"The weights of {label}"
