"""Load pipelines of all families, and ControlNets, from local files into memory.

The weights have been fetched before. Only a single file without a layout asks the Hub, for the
small configuration files of its family.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers.models.auto_model import AutoModel
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from safetensors import safe_open

from backends.base import Applied
from backends.errors import BadInput, MissingWeights
from backends.local.acceleration import compile_denoisers
from backends.local.families.base import Family
from backends.local.families.detect import detect_family
from backends.local.families.preview import LatentPreview
from backends.local.job import ModelSpec
from backends.local.library_logs import silence_libraries
from backends.local.memory.cache import CacheEntry
from backends.local.memory.devices import Device
from backends.local.memory.offload import modules_of, place_weights, size_in_bytes
from backends.local.text.embedding_cache import EmbeddingCache
from backends.local.weights.contents import component_counts, kind_of, unknown_networks
from backends.local.weights.headers import count_parameters, read_header
from backends.local.weights.sources import (
    SHARED,
    class_of,
    complete_path,
    layout_beside,
    variant_in,
)
from backends.local.weights.validation import (
    DENOISERS,
    check_complete,
    check_dtypes,
    unused_weights,
)

_DTYPES: Final = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline, or a ControlNet (without a scheduler), that is ready to run."""

    model: Any
    scheduler: Any = None
    parameters: int = 0
    latent_preview: LatentPreview | None = None
    family: Family = field(default_factory=Family)
    embeddings: EmbeddingCache = field(default_factory=EmbeddingCache)
    ignored: dict[str, Applied] = field(default_factory=dict[str, Applied])


def move(device: Device, loaded: Loaded, in_ram: bool) -> None:
    """Move a model from `device` to RAM (`in_ram`), or back to `device`."""
    loaded.model.to("cpu" if in_ram else device.name)
    loaded.embeddings.clear()  # tensors on the device


def component_parameters(spec: ModelSpec, device: Device) -> tuple[Mapping[str, int], int]:
    """Return the parameter count of each component and the bytes per parameter once loaded.

    The counts come from the headers of the files.

    Raises:
        MissingWeights: the headers show that the files hold no usable weights.
    """
    path = complete_path(spec.source, spec.label)
    variant = spec.variant or (variant_in(path, device.kind) if path.is_dir() else None)
    check_dtypes(path, variant, spec.label)
    counts = dict(count_parameters(path, variant))
    for number, source in enumerate(spec.stages, start=2):
        stage = complete_path(source, spec.label)
        check_dtypes(stage, variant_in(stage, device.kind), spec.label)
        parts = count_parameters(stage, variant_in(stage, device.kind)).items()
        counts |= {f"stage_{number}_{name}": size for name, size in parts if name not in SHARED}
    return counts, _dtype(spec, device).itemsize


# While they load weights, diffusers and transformers patch torch for the whole process: two lanes
# that load at the same time would leave each other's networks without weights.
_LOAD_LOCK: Final = threading.Lock()


def _serialized(
    load: Callable[[ModelSpec, Device], CacheEntry[Loaded]],
) -> Callable[[ModelSpec, Device], CacheEntry[Loaded]]:
    @wraps(load)
    def locked(spec: ModelSpec, device: Device) -> CacheEntry[Loaded]:
        with _LOAD_LOCK:
            return load(spec, device)

    return locked


@_serialized
def load_pipeline(spec: ModelSpec, device: Device) -> CacheEntry[Loaded]:
    """Load the pipeline of `spec` and move it to `device`."""
    silence_libraries()
    path = complete_path(spec.source, spec.label)
    family = detect_family(path, spec.label)
    pipeline = family.load(path, spec, _dtype(spec, device), device)
    # Components of a single file may come from elsewhere, so its counts are not theirs.
    counts = {} if path.is_file() else component_parameters(spec, device)[0]
    check_complete(pipeline.components, spec, counts)
    header = read_header(path) if path.is_file() else None
    if header is not None:
        denoiser = next((name for name in DENOISERS if name in pipeline.components), "unet")
        counts = component_counts(header, denoiser)
    unknown = [] if header is None else unknown_networks(header)
    ignored = unused_weights(pipeline.components, spec, counts, unknown)
    pipeline.set_progress_bar_config(disable=True)
    if spec.compile:
        ignored |= compile_denoisers(pipeline, spec.label)
    if spec.offload and not family.offloads:
        note = f"offload ignored: {spec.label} takes none, its parts work on one device"
        ignored["offload"] = Applied(spec.offload, None, note)
        spec = replace(spec, offload="")
    folder = None if path.is_file() else path
    latent_preview = (
        family.latent_preview(pipeline, folder) if spec.offload else None
    )  # before the decoder is offloaded
    footprint, not_offloaded = place_weights(pipeline, spec, device)
    latent_preview = latent_preview or family.latent_preview(pipeline, folder)
    loaded = Loaded(
        pipeline,
        pipeline.scheduler,
        sum(each.numel() for part in modules_of(pipeline).values() for each in part.parameters()),
        latent_preview,
        family,
        ignored=ignored | not_offloaded,
    )
    return CacheEntry(loaded, footprint.resident, footprint.offloaded, footprint.transient)


@_serialized
def load_controlnet(spec: ModelSpec, device: Device) -> CacheEntry[Loaded]:
    """Load the ControlNet of `spec`, of any class, and move it to `device`."""
    path = complete_path(spec.source, spec.label)
    header = read_header(path) if path.is_file() else None
    kind = kind_of(header)[0] if header is not None else class_of(path)
    if kind and "ControlNet" not in kind:
        raise BadInput(f"{spec.label} is {kind}, not a ControlNet. Choose a ControlNet's weights.")
    if path.is_file():
        controlnet = _controlnet_from_file(path, spec, _dtype(spec, device))
        check_complete({"": controlnet}, spec, {})
        return CacheEntry(Loaded(controlnet.to(device.name)), size_in_bytes([controlnet]))
    variant = spec.variant or variant_in(path, device.kind)
    check_dtypes(path, variant, spec.label)
    model: Any = AutoModel.from_pretrained(
        str(path),
        dtype=_dtype(spec, device),
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
    )
    check_complete({"": model}, spec, count_parameters(path, variant))
    return CacheEntry(Loaded(model.to(device.name)), size_in_bytes([model]))


def _controlnet_from_file(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Any:
    """Load a ControlNet from one file: Z-Image's as published, or one in the original format."""
    with safe_open(path, "pt") as file:
        names: list[str] = file.keys()
    of_z_image = any(name.startswith("control_all_x_embedder.") for name in names)
    model_class: Any = ZImageControlNetModel if of_z_image else ControlNetModel
    layout = layout_beside(path, model_class.__name__)
    try:
        return model_class.from_single_file(str(path), dtype=dtype, config=layout and str(layout))
    except OSError as error:
        raise MissingWeights(
            f"{spec.label} is a single file, and the settings of its kind are not on this "
            "machine. Connect to the internet for one run, or put its config.json beside it."
        ) from error


def _dtype(spec: ModelSpec, device: Device) -> torch.dtype:
    name = spec.dtype or device.dtype
    if name not in _DTYPES:
        known = ", ".join(sorted(_DTYPES))
        raise BadInput(f"There is no number format '{name}' for weights. Use one of {known}.")
    return cast(torch.dtype, getattr(torch, name))
