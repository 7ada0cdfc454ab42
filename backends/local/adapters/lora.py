"""Apply LoRAs to a pipeline that stays in memory, and remove them again.

A pipeline keeps its adapters between runs, named after a hash of the file: the next run with the
same files only sets their weights, one with others exchanges them, one without removes the layers.
The base model is never loaded again, and without LoRAs it is bitwise unchanged.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch

from backends.base import Applied
from backends.errors import BadInput, MissingWeights
from backends.local.adapters.folders import LORA
from backends.local.adapters.layouts import plain_loras, read_adapter
from backends.local.adapters.references import file_of, file_version
from backends.local.errors import ran_out_of_memory
from backends.local.job import Adapter
from backends.local.library_logs import without_error_logs

_SIZE_MISMATCH: Final = re.compile(
    r"size mismatch for (\S+?)\.lora_.*?\[(.*?)\].*?\[(.*?)\]", re.DOTALL
)


_OTHER_KIND: Final = (
    "It was made for another kind of model, or is in a layout that is not read here: look for a "
    "version in the layout of diffusers."
)


def apply_loras(pipeline: Any, loras: tuple[Adapter, ...], label: str) -> dict[str, Applied]:
    """Apply exactly `loras` to `pipeline`, and return what was applied and ignored.

    Raises:
        BackendError: a file is missing or damaged, or does not fit; then none is applied.
    """
    requested = ", ".join(lora.written for lora in loras)
    if not hasattr(pipeline, "load_lora_weights"):
        note = f"LoRA ignored: {label} takes none"
        return {"loras": Applied(requested, None, note)} if loras else {}
    requested_files = {
        f"lora_{file_version(file)}": (file, lora) for lora in loras for file in [_file(lora)]
    }
    loaded = {key for part in _modules(pipeline) for key in getattr(part, "peft_config", {})}
    if not requested_files:
        if loaded:
            pipeline.unload_lora_weights()
        return {}
    notes: list[str] = []
    try:
        with without_error_logs():
            if loaded - requested_files.keys():
                pipeline.delete_adapters([*(loaded - requested_files.keys())])
            for key in requested_files.keys() - loaded:
                notes += _load_adapter(pipeline, key, *requested_files[key], label)
            pipeline.set_adapters(
                [*requested_files],
                [_component_weights(pipeline, lora) for _, lora in requested_files.values()],
            )
            notes += _ignored_text_weights(pipeline, requested_files)
    except BaseException:
        pipeline.unload_lora_weights()
        raise
    return {"loras": Applied(requested, requested, "; ".join(notes))}


@lru_cache(maxsize=64)
def _tensor_hash(file: Path, version: str) -> str:
    with file.open("rb") as opened:
        opened.seek(8 + int.from_bytes(opened.read(8), "little"))
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]


def fingerprint(lora: Adapter) -> str:
    """Return the Stable Diffusion web UI's hash of a LoRA: of its tensors, 12 digits."""
    file = _file(lora)
    return _tensor_hash(file, file_version(file))


def _file(lora: Adapter) -> Path:
    file = file_of(lora, LORA)
    if file is None:
        raise MissingWeights(f"The LoRA '{lora.name}' is not on this machine.")
    return file


def _load_adapter(pipeline: Any, key: str, file: Path, lora: Adapter, label: str) -> list[str]:
    """Load one file and return a note if some of its layers were ignored."""
    adapter = read_adapter(file, lora.name)
    best: dict[str, torch.Tensor] = {}
    most: list[int] = []
    refusal: Exception | None = None
    for plain in plain_loras(adapter, pipeline, label):
        try:
            applied = _load_tensors(pipeline, key, plain)
        except Exception as error:
            if ran_out_of_memory(error) or isinstance(error, ImportError):
                raise
            refusal, applied = error, []
        # Models split and join layers, but not rows: those that are missing were ignored.
        if sum(applied) >= adapter.rows:
            return []
        _remove(pipeline, key)
        if sum(applied) > sum(most):
            best, most = plain, applied
    total = len(adapter.layers)
    if not most and refusal is not None:
        raise _mismatch_error(refusal, lora, label) from refusal
    if not most:
        raise BadInput(
            f"The LoRA '{lora.name}' does not fit {label}: none of its {total} layers is in "
            f"this model ({min(adapter.layers)}, say). {_OTHER_KIND}"
        )
    _load_tensors(pipeline, key, best)
    ignored = total - len(most)
    share = max(1, round(100 - 100 * sum(most) / adapter.rows))
    count = f"{ignored} of {total} layers" if ignored > 0 else f"{share}% of the layers"
    return [f"{count} of the LoRA '{lora.name}' ignored: not in {label}"]


def _load_tensors(pipeline: Any, key: str, plain: dict[str, torch.Tensor]) -> list[int]:
    """Load a plain LoRA under the name `key` and return the rows of each layer that took it."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # optional package, needed here only

    with warnings.catch_warnings():
        # peft would take `proj_out` for every layer whose name ends so, but is told by the tensors
        # which one is meant; it warns of the difference.
        warnings.filterwarnings("ignore", ".*inconsistency", RuntimeWarning)
        pipeline.load_lora_weights(plain, adapter_name=key)
    tuned: list[Any] = [
        module
        for part in _modules(pipeline)
        for module in part.modules()
        if isinstance(module, BaseTunerLayer) and key in getattr(module, "lora_B", ())
    ]
    return [module.lora_B[key].weight.shape[0] for module in tuned]


def _remove(pipeline: Any, key: str) -> None:
    """Remove an adapter from all components that have it, also after half a load."""
    if any(key in getattr(part, "peft_config", {}) for part in _modules(pipeline)):
        pipeline.delete_adapters([key])


def _component_weights(pipeline: Any, lora: Adapter) -> float | dict[str, float]:
    """Return the weight of all components, or one for each that LoRAs can change."""
    if lora.text_weight is None:
        return lora.weight
    text, parts = lora.text_weight, pipeline._lora_loadable_modules
    return {part: text if part.startswith("text_encoder") else lora.weight for part in parts}


def _ignored_text_weights(
    pipeline: Any, files: Mapping[str, tuple[Path, Adapter]]
) -> Iterator[str]:
    """Yield a note for each LoRA with a weight for a text encoder that it does not change."""
    for key, (_, lora) in files.items():
        changed = any(
            name.startswith("text_encoder") and key in getattr(part, "peft_config", {})
            for name, part in pipeline.components.items()
        )
        if lora.text_weight is not None and not changed:
            yield (
                f"weight {lora.text_weight:g} of the LoRA '{lora.name}' ignored: it changes no "
                "text encoder here"
            )


def _mismatch_error(error: Exception, lora: Adapter, label: str) -> BadInput:
    logging.getLogger(__name__).info("The LoRA %s was refused", lora.name, exc_info=error)
    reason = "its layers are not those of this model"
    if match := _SIZE_MISMATCH.search(str(error)):
        pairs = zip(match[2].split(","), match[3].split(","), strict=False)
        its, ours = next(((its, ours) for its, ours in pairs if its != ours), ("", ""))
        reason = f"its layer {match[1]} is {its.strip()} wide, the model's {ours.strip()}"
    return BadInput(f"The LoRA '{lora.name}' does not fit {label}: {reason}. {_OTHER_KIND}")


def _modules(pipeline: Any) -> list[torch.nn.Module]:
    parts = pipeline.components.values()
    return [part for part in parts if isinstance(part, torch.nn.Module)]
