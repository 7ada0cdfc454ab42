"""Read a model of any family from this machine into memory, and the ControlNets beside it.

Everything here has been fetched already; nothing here talks to the Hub, except that a single
file without a layout beside it asks for the small configuration files of its family.
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
from backends.local.acceleration import compiled
from backends.local.families.base import Family
from backends.local.families.detect import detect_family
from backends.local.families.preview import LatentPreview
from backends.local.job import ModelSpec
from backends.local.library_logs import silence_libraries
from backends.local.memory.cache import CacheEntry
from backends.local.memory.devices import Device
from backends.local.memory.offload import parts_of, place, weight
from backends.local.text.embedding_cache import EmbeddingCache
from backends.local.weights.headers import count_parameters
from backends.local.weights.sources import SHARED, layout_beside, variant_in, whole
from backends.local.weights.validation import check_complete, check_dtypes

_DTYPES: Final = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline (or, without a scheduler, a ControlNet) that is ready to draw."""

    model: Any
    scheduler: Any = None
    parameters: int = 0
    look: LatentPreview | None = None
    family: Family = field(default_factory=Family)
    embeddings: EmbeddingCache = field(default_factory=EmbeddingCache)
    ignored: dict[str, Applied] = field(default_factory=dict[str, Applied])


def move(device: Device, loaded: Loaded, in_ram: bool) -> None:
    """Move a model from `device` to RAM (`in_ram`), or back to `device`."""
    loaded.model.to("cpu" if in_ram else device.name)
    loaded.embeddings.clear()  # tensors on the device


def component_parameters(recipe: ModelSpec, device: Device) -> tuple[Mapping[str, int], int]:
    """The numbers that each part's weights are, by the files, and the bytes of one when loaded.

    Raises:
        MissingWeights: it can be seen from the files that they are no weights.
    """
    path = whole(recipe.source, recipe.label)
    variant = recipe.variant or (variant_in(path, device.kind) if path.is_dir() else None)
    check_dtypes(path, variant, recipe.label)
    counts = dict(count_parameters(path, variant))
    for number, source in enumerate(recipe.stages, start=2):
        stage = whole(source, recipe.label)
        check_dtypes(stage, variant_in(stage, device.kind), recipe.label)
        parts = count_parameters(stage, variant_in(stage, device.kind)).items()
        counts |= {f"stage_{number}_{name}": size for name, size in parts if name not in SHARED}
    return counts, _dtype(recipe, device).itemsize


# While weights are read, diffusers and transformers put a hook of their own into torch for the
# whole process: two lanes that read at once would leave each other's networks without weights.
_READING: Final = threading.Lock()


def _one_at_a_time(
    load: Callable[[ModelSpec, Device], CacheEntry[Loaded]],
) -> Callable[[ModelSpec, Device], CacheEntry[Loaded]]:
    @wraps(load)
    def alone(recipe: ModelSpec, device: Device) -> CacheEntry[Loaded]:
        with _READING:
            return load(recipe, device)

    return alone


@_one_at_a_time
def load_pipeline(recipe: ModelSpec, device: Device) -> CacheEntry[Loaded]:
    """Read the pipeline of `recipe` and move it to `device`."""
    silence_libraries()
    path = whole(recipe.source, recipe.label)
    family = detect_family(path, recipe.label)
    pipeline = family.load(path, recipe, _dtype(recipe, device), device)
    # Beside a single file, parts may come from elsewhere: its numbers are not theirs.
    counts = {} if path.is_file() else component_parameters(recipe, device)[0]
    check_complete(pipeline.components, recipe, counts)
    pipeline.set_progress_bar_config(disable=True)
    ignored = compiled(pipeline, recipe.label) if recipe.compile else {}
    if recipe.offload and not family.offloads:
        note = f"offload ignored: {recipe.label} takes none, its parts work on one device"
        ignored["offload"] = Applied(recipe.offload, None, note)
        recipe = replace(recipe, offload="")
    folder = None if path.is_file() else path
    look = (
        family.latent_preview(pipeline, folder) if recipe.offload else None
    )  # before its decoder moves
    lies, unplaced = place(pipeline, recipe, device)
    look = look or family.latent_preview(pipeline, folder)
    loaded = Loaded(
        pipeline,
        pipeline.scheduler,
        sum(each.numel() for part in parts_of(pipeline).values() for each in part.parameters()),
        look,
        family,
        ignored=ignored | unplaced,
    )
    return CacheEntry(loaded, lies.size, lies.waiting, lies.passing)


@_one_at_a_time
def load_controlnet(recipe: ModelSpec, device: Device) -> CacheEntry[Loaded]:
    """Read the ControlNet of `recipe`, of whatever class, and move it to `device`."""
    path = whole(recipe.source, recipe.label)
    if path.is_file():
        net = _net_from_file(path, recipe, _dtype(recipe, device))
        check_complete({"": net}, recipe, {})
        return CacheEntry(Loaded(net.to(device.name)), weight([net]))
    variant = recipe.variant or variant_in(path, device.kind)
    check_dtypes(path, variant, recipe.label)
    model: Any = AutoModel.from_pretrained(
        str(path),
        dtype=_dtype(recipe, device),
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
    )
    check_complete({"": model}, recipe, count_parameters(path, variant))
    return CacheEntry(Loaded(model.to(device.name)), weight([model]))


def _net_from_file(path: Path, recipe: ModelSpec, dtype: torch.dtype) -> Any:
    """A ControlNet in one file: Z-Image's as its authors publish it, or one in the first form."""
    with safe_open(path, "pt") as file:
        names: list[str] = file.keys()
    of_z_image = any(name.startswith("control_all_x_embedder.") for name in names)
    kind: Any = ZImageControlNetModel if of_z_image else ControlNetModel
    layout = layout_beside(path, kind.__name__)
    try:
        return kind.from_single_file(str(path), dtype=dtype, config=layout and str(layout))
    except OSError as error:
        raise MissingWeights(
            f"{recipe.label} is a single file, and the settings of its kind are not on this "
            "machine. Connect to the internet for one run, or put its config.json beside it."
        ) from error


def _dtype(recipe: ModelSpec, device: Device) -> torch.dtype:
    name = recipe.dtype or device.dtype
    if name not in _DTYPES:
        known = ", ".join(sorted(_DTYPES))
        raise BadInput(f"There is no number format '{name}' for weights. Use one of {known}.")
    return cast(torch.dtype, getattr(torch, name))
