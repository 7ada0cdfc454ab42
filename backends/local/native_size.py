"""The size that a model was trained for, read from its files before anything is loaded.

A folder's denoiser states the side of its latents (`sample_size`), and its autoencoder how many
pixels one of them is: the pipelines of diffusers multiply the two if no size is given, and take
latents of 128 where the denoiser states none (FLUX, Qwen-Image, Z-Image). A single file may state
its size itself (`modelspec.resolution`, https://github.com/Stability-AI/ModelSpec); otherwise the
names of its weights tell the architecture, of which the published model's size is taken.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from backends.base import Model
from backends.errors import NotReady
from backends.fit import closest_size
from backends.local.weights import sources

_DENOISERS: Final = {"unet": 64, "transformer": 128}
"""The components that may state `sample_size`, with the side that they have by default."""
_AUTOENCODERS: Final = ("vae", "vqvae", "movq")
_MOST: Final = 2048
"""Pixels of a side up to which a default makes sense (HunyuanImage: 64 latents of 32 pixels)."""
_UNET: Final = "model.diffusion_model.input_blocks."
_LABELS: Final = "model.diffusion_model.label_emb."
_CROSS_ATTENTION: Final = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"
Size = tuple[int, int]


def with_native_size(model: Model, config: str = "") -> Model:
    """Return `model` with the size that its files state, if the catalogue only assumes one.

    `config` names the layout of a single file. Files that are not here, or state nothing, leave
    the model as it is. Reads files: call it in a thread.
    """
    if not model.sizes.assumed:
        return model
    size = _native_size(model, config)
    if size is None or not all(0 < side <= 2 * _MOST for side in size):
        return model
    sizes = replace(model.sizes, least=min(model.sizes.least, *size))
    return replace(model, sizes=replace(sizes, native=(closest_size(sizes, *size),)))


def _native_size(model: Model, config: str) -> Size | None:
    try:
        path = sources.find(sources.locate(model.source), model.label)
        if path is None or path.is_dir():
            return None if path is None else _size_of_folder(path)
        layout = sources.locate(config) if config else None
        folder = None
        if layout is not None:
            is_hub = layout.kind is sources.Kind.HUB
            folder = sources.snapshot(layout.id) if is_hub else layout.path
        return _size_of_folder(folder) if folder and folder.is_dir() else _size_of_file(path)
    except (NotReady, OSError):
        return None  # loading it says what is wrong


def _size_of_folder(folder: Path) -> Size | None:
    denoiser = next((name for name in _DENOISERS if (folder / name).is_dir()), None)
    if denoiser is None:
        return None
    autoencoder = next((name for name in _AUTOENCODERS if (folder / name).is_dir()), None)
    scale = 1 if autoencoder is None else _scale(_read(folder / autoencoder))
    stated = _read(folder / denoiser).get("sample_size")
    height, width = (cast(list[Any], stated) if isinstance(stated, list) else [stated] * 2)[:2]
    if isinstance(height, int) and isinstance(width, int):
        return (width * scale, height * scale)
    side = min(_DENOISERS[denoiser] * scale, _MOST)
    return (side, side)


def _scale(autoencoder: Mapping[str, Any]) -> int:
    """Return the pixels of a latent's side, as the pipelines compute it."""
    if isinstance(ratio := autoencoder.get("spatial_compression_ratio"), int):
        return ratio  # HunyuanImage
    if isinstance(halved := autoencoder.get("temperal_downsample"), list):
        return 2 ** len(cast(list[Any], halved))  # Qwen-Image
    for name in ("encoder_block_out_channels", "block_out_channels"):  # Sana's; all others
        if isinstance(blocks := autoencoder.get(name), list):
            return 2 ** (len(cast(list[Any], blocks)) - 1)
    return 8


def _size_of_file(file: Path) -> Size | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), "np") as opened:
            names = set(cast(list[str], opened.keys()))
            stated = str((opened.metadata() or {}).get("modelspec.resolution", ""))
            attention = f"{_CROSS_ATTENTION}.weight"
            width = opened.get_slice(attention).get_shape()[1] if attention in names else 0
    except SafetensorError:
        return None
    if match := re.fullmatch(r"\s*(\d{2,4})\s*x\s*(\d{2,4})\s*", stated):
        return (int(match[1]), int(match[2]))
    if not any(name.startswith(_UNET) for name in names):
        return (1024, 1024)  # Stable Diffusion 3, FLUX and other transformers
    if any(name.startswith((_LABELS, "conditioner.")) for name in names):
        return (1024, 1024)  # Stable Diffusion XL
    side = 768 if width == 1024 else 512  # Stable Diffusion 2 has another text encoder than 1
    return (side, side)


def _read(folder: Path) -> Mapping[str, Any]:
    try:
        data = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}
