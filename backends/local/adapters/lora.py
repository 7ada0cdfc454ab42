"""Put LoRAs on a pipeline that stays in memory, and take them off again.

A pipeline keeps what it wears from run to run, under a name made of the file: the next run with
the same files only sets their weights, one with others exchanges them, one with none takes the
layers out. The model below is never read again, and without LoRAs is what it was, to the bit.
"""

import hashlib
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from backends.base import Applied
from backends.errors import BadInput, MissingWeights
from backends.local.adapters.references import LORA, file_of, stamp
from backends.local.errors import ran_out_of_memory
from backends.local.job import Adapter
from backends.local.library_logs import silent

# One part of each layer, in the words of peft, of kohya's scripts and of the first diffusers;
# then those of LoKr and LoHa, which go by the name of LoRA too.
_PART: Final = re.compile(
    r"^(.*?)[._](?:lora_A|lora_down|lora\.down|lora_linear_layer\.down|lokr_w1(?:_a)?|hada_w1_a)\b"
)
_SIZES: Final = re.compile(r"size mismatch for (\S+?)\.lora_.*?\[(.*?)\].*?\[(.*?)\]", re.DOTALL)


def apply_loras(pipeline: Any, loras: tuple[Adapter, ...], label: str) -> dict[str, Applied]:
    """Let `pipeline` wear `loras` and nothing else; say what became of them.

    Raises:
        BackendError: one is not there, is damaged, or does not fit; the pipeline wears none then.
    """
    asked = ", ".join(f"{lora.name}:{lora.weight:g}" for lora in loras)
    if not hasattr(pipeline, "load_lora_weights"):
        note = f"LoRA ignored: {label} takes none"
        return {"loras": Applied(asked, None, note)} if loras else {}
    wanted = {f"lora_{stamp(file)}": (file, lora) for lora in loras for file in [_file(lora)]}
    held = {key for part in _parts(pipeline) for key in getattr(part, "peft_config", {})}
    if not wanted:
        if held:
            pipeline.unload_lora_weights()
        return {}
    left_out: list[str] = []
    try:
        with silent():
            if held - wanted.keys():
                pipeline.delete_adapters([*(held - wanted.keys())])
            for key in wanted.keys() - held:
                left_out += _put_on(pipeline, key, *wanted[key], label)
            pipeline.set_adapters([*wanted], [lora.weight for _, lora in wanted.values()])
    except BaseException:
        pipeline.unload_lora_weights()
        raise
    return {"loras": Applied(asked, asked, "; ".join(left_out))}


@lru_cache(maxsize=64)
def _hashed(file: Path, _: float) -> str:
    with file.open("rb") as opened:
        opened.seek(8 + int.from_bytes(opened.read(8), "little"))
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]


def fingerprint(lora: Adapter) -> str:
    """The hash by which the Stable Diffusion web UI knows a LoRA: of its tensors, shortened."""
    file = _file(lora)
    return _hashed(file, file.stat().st_mtime)


def _file(lora: Adapter) -> Path:
    file = file_of(lora, LORA)
    if file is None:
        raise MissingWeights(f"The LoRA '{lora.name}' is not on this machine.")
    return file


def _put_on(pipeline: Any, key: str, file: Path, lora: Adapter, label: str) -> list[str]:
    """Load one file and say what of it was left out."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # not everybody has it: for this alone

    layers = _layers(file, lora)
    try:
        pipeline.load_lora_weights(
            str(file.parent),
            weight_name=file.name,
            adapter_name=key,
            use_safetensors=True,
            local_files_only=True,
        )
    except Exception as error:
        if ran_out_of_memory(error) or isinstance(error, ImportError):
            raise
        raise _unfit(error, lora, label) from error
    worn = sum(
        isinstance(module, BaseTunerLayer) and key in getattr(module, "scaling", ())
        for part in _parts(pipeline)
        for module in part.modules()
    )
    if not worn:
        raise BadInput(
            f"The LoRA '{lora.name}' does not fit {label}: none of its {len(layers)} layers is in "
            f"this model ({layers[0]}, say). It was made for another kind of model."
        )
    left = len(layers) - worn  # where a model joins layers, more may be worn than were read
    note = f"{left} of {len(layers)} layers of the LoRA '{lora.name}' ignored: not in {label}"
    return [note] if left > 0 else []


def _layers(file: Path, lora: Adapter) -> list[str]:
    """The names of the layers that the file changes."""
    try:
        with safe_open(str(file), "pt") as opened:
            matches = map(_PART.match, opened.keys())
            names = {match[1] for match in matches if match}
    except SafetensorError as error:
        raise MissingWeights(
            f"The file of the LoRA '{lora.name}' is damaged or cut short. Delete it and download "
            "it again."
        ) from error
    if not names:
        raise BadInput(
            f"The file '{lora.name}' is no LoRA: it holds no low-rank layers. A whole model is "
            "chosen as a model; an embedding belongs into its own field."
        )
    return sorted(names)


def _unfit(error: Exception, lora: Adapter, label: str) -> BadInput:
    logging.getLogger(__name__).info("The LoRA %s was refused", lora.name, exc_info=error)
    why = "its layers are not those of this model"
    if match := _SIZES.search(str(error)):
        pairs = zip(match[2].split(","), match[3].split(","), strict=False)
        its, ours = next(((its, ours) for its, ours in pairs if its != ours), ("", ""))
        why = f"its layer {match[1]} is {its.strip()} wide, the model's {ours.strip()}"
    return BadInput(
        f"The LoRA '{lora.name}' does not fit {label}: {why}. It was made for another kind of "
        "model."
    )


def _parts(pipeline: Any) -> list[torch.nn.Module]:
    parts = pipeline.components.values()
    return [part for part in parts if isinstance(part, torch.nn.Module)]
