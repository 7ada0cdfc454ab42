"""Offloading and quantization of weights, the memory they need, and advice when it is too much.

    offload         on the device during a run        speed
    ""              everything                        full
    "model"         the active network (text          about a second a picture for the moves
                    encoder, denoiser, decoder)
    "group"         a few layers at a time            the weights cross the bus at every step

Quantization keeps linear layers in 8 bit (LLM.int8, https://arxiv.org/abs/2208.07339) or 4 bit
(NF4, https://arxiv.org/abs/2305.14314), through bitsandbytes. The layers are replaced here, after
loading, for two reasons: diffusers itself uses bitsandbytes only with a GPU, and single files are
treated like folders.
"""

import importlib
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import nn

from backends.base import Applied
from backends.errors import BadInput, MissingPackage
from backends.local.job import ModelSpec
from backends.local.memory.devices import Device
from backends.local.options import OFFLOADS, QUANTIZATIONS

PACKAGES: Final = 'Install the extra for it: pip install -e ".[quantized]"'
_NEVER_QUANTIZED: Final = ("vae", "vqvae", "movq", "safety_checker", "image_encoder")
_STAGE: Final = re.compile(r"^stage_\d+_")
_DENOISERS: Final = ("unet", "transformer", "transformer_2", "prior", "decoder")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of weights: resident on the device, on it during a run only, and offloaded to RAM."""

    resident: int
    transient: int = 0
    offloaded: int = 0

    @property
    def peak(self) -> int:
        """The bytes of weights that must fit on the device for a run; activations are extra."""
        return self.resident + self.transient


def supported_spec(spec: ModelSpec, device: Device) -> tuple[ModelSpec, dict[str, Applied]]:
    """Return `spec` without the options that `device` does not support, and these as ignored.

    Raises:
        BackendError: a choice is unknown, or needs a package that is not installed.
    """
    if spec.offload not in OFFLOADS:
        raise BadInput(f"There is no offload '{spec.offload}'. Choose one of {_quoted(OFFLOADS)}.")
    if spec.quantization not in QUANTIZATIONS:
        raise BadInput(
            f"There is no quantization '{spec.quantization}'. "
            f"Choose one of {_quoted(QUANTIZATIONS)}."
        )
    if spec.quantization and find_spec("bitsandbytes") is None:
        raise MissingPackage(
            f"Loading {spec.label} in {spec.quantization} needs bitsandbytes. {PACKAGES}"
        )
    if spec.offload and device.ram_budget is None:
        note = f"offload ignored: {device.kind} draws in the machine's own memory"
        applied = Applied(spec.offload, None, note)
        return replace(spec, offload=""), {"offload": applied}
    return spec, {}


def footprint(counts: Mapping[str, int], spec: ModelSpec, itemsize: int) -> Footprint:
    """Return the memory for components with these parameter counts, loaded as `spec` requests.

    `itemsize` is the bytes per parameter. The result is an estimate for quantized weights: not
    every layer is quantized.
    """
    bits = {"8 bit": 1.0, "4 bit": 0.5}.get(spec.quantization, itemsize)
    sizes = [
        int(count * (itemsize if name in _NEVER_QUANTIZED else min(bits, itemsize)))
        for name, count in counts.items()
    ]
    return _footprint_of(sizes, spec.offload)


def place_weights(
    pipeline: Any, spec: ModelSpec, device: Device
) -> tuple[Footprint, dict[str, Applied]]:
    """Quantize `pipeline` and move it to `device`, or offload it, as `spec` requests.

    Returns:
        Its memory, and the options that were ignored.
    """
    modules = modules_of(pipeline)
    if spec.quantization:
        for name, part in modules.items():
            if name not in _NEVER_QUANTIZED:
                _quantize(part, four_bit=spec.quantization == "4 bit")
                part.to("cpu")  # the first move quantizes
    ignored: dict[str, Applied] = {}
    offload = spec.offload
    if offload and not hasattr(pipeline, "enable_model_cpu_offload"):
        note = f"offload ignored: {spec.label} cannot be taken apart for it"
        ignored["offload"], offload = Applied(offload, None, note), ""
    resident = [
        name for name, part in modules.items() if offload == "group" and _cannot_be_split(part)
    ]
    if not offload:
        pipeline.to(device.name)
        return Footprint(size_in_bytes(list(modules.values()))), ignored
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device.name)
    else:
        pipeline.enable_group_offload(
            onload_device=torch.device(device.name),
            offload_type="leaf_level",
            use_stream=device.kind == "cuda",  # copy the next layer while this one computes
            low_cpu_mem_usage=True,
            exclude_modules=resident,  # these stay on the device
        )
    moved_sizes = [size_in_bytes([part]) for name, part in modules.items() if name not in resident]
    moved = _footprint_of(moved_sizes, offload)
    return replace(moved, resident=size_in_bytes([modules[name] for name in resident])), ignored


@contextmanager
def without_offload_hooks(pipeline: Any, device: Device) -> Generator[None]:
    """Remove the hooks of model offload, if there are any, while layers are added or removed.

    diffusers would remove them by itself, and install them again for the first card that it sees.
    """
    if not getattr(pipeline, "_all_hooks", ()):
        yield
        return
    pipeline.remove_all_hooks()
    try:
        yield
    finally:
        pipeline.enable_model_cpu_offload(device=device.name)


def release(pipeline: Any, spec: ModelSpec) -> None:
    """Move what a run, finished or not, left on the device back to RAM."""
    if spec.offload == "model" and hasattr(pipeline, "maybe_free_model_hooks"):
        pipeline.maybe_free_model_hooks()


def modules_of(pipeline: Any) -> dict[str, nn.Module]:
    """Return the networks of a pipeline by name."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def denoisers(pipeline: Any) -> list[nn.Module]:
    """Return the networks that run at every step, in a cascade those of all stages."""
    modules = modules_of(pipeline)
    return [part for name, part in modules.items() if _STAGE.sub("", name) in _DENOISERS]


def size_in_bytes(modules: list[nn.Module]) -> int:
    """Return the bytes of all weights; weights shared by two modules count once."""
    tensors: dict[int, torch.Tensor] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            tensors[tensor.data_ptr()] = tensor
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _footprint_of(sizes: list[int], offload: str) -> Footprint:
    if not offload:
        return Footprint(sum(sizes))
    return Footprint(0, max(sizes, default=0) if offload == "model" else 0, sum(sizes))


def _cannot_be_split(module: nn.Module) -> bool:
    """Tell whether diffusers cannot offload `module` in groups of layers."""
    return not getattr(module, "_supports_group_offloading", True)


def _quantize(module: nn.Module, *, four_bit: bool) -> None:
    """Replace the linear layers of `module` by quantized ones.

    Adapters stay as they are, and so do the layers that the model lists for full precision.
    """
    layers: Any = importlib.import_module("bitsandbytes.nn")
    unquantized = frozenset(getattr(module, "_keep_in_fp32_modules", None) or ())
    for name, layer in list(module.named_modules()):
        if type(layer) is not nn.Linear or "lora_" in name or unquantized & set(name.split(".")):
            continue
        bias: Any = layer.bias
        shape = (layer.in_features, layer.out_features, bias is not None)
        values = layer.weight.data
        if four_bit:
            quantized = layers.Linear4bit(*shape, compute_dtype=values.dtype, quant_type="nf4")
            quantized.weight = layers.Params4bit(values, requires_grad=False, quant_type="nf4")
            # A kernel of some processors, which does not support every width, packs the weights
            # again at the first use after another library (for a LoRA, say) has called `eval`.
            quantized.support_avx512bf16_for_cpu = False
        else:
            quantized = layers.Linear8bitLt(*shape, has_fp16_weights=False)
            quantized.weight = layers.Int8Params(
                values, requires_grad=False, has_fp16_weights=False
            )
        quantized.bias = bias
        module.set_submodule(name, quantized)


def _quoted(choices: tuple[str, ...]) -> str:
    return ", ".join(f"'{choice}'" if choice else "empty" for choice in choices)


_GIGABYTE: Final = 1_000_000_000


def out_of_memory_advice(
    spec: ModelSpec,
    device: Device,
    counts: Mapping[str, int],
    itemsize: int,
    size: tuple[int, int],
) -> str:
    """The sentences for the card of `recipe`, which ran out of memory on `device` all alone.

    `counts` are the numbers that the weights of each part are, `itemsize` the bytes of one as
    they would be loaded, and `size` the picture's width and height.
    """
    needed = footprint(counts, spec, itemsize).peak
    suggestions: list[str] = []
    if needed < device.total:
        width, height = (side // 16 * 8 for side in size)
        suggestions.append(f"a smaller picture, such as {width}x{height}")
    for quantization in QUANTIZATIONS[1:]:
        takes = footprint(counts, replace(spec, quantization=quantization), itemsize).peak
        if takes < min(needed, device.total):
            suggestions.append(f"quantization to {quantization} ({_gigabytes(takes)} of weights)")
    for offload in OFFLOADS[1:]:
        lighter = footprint(counts, replace(spec, offload=offload), itemsize)
        if device.ram_budget is None or lighter.peak >= min(needed, device.total):
            continue
        on_device = _gigabytes(lighter.peak) if lighter.peak else "hardly any"
        suggestions.append(f"offload '{offload}' ({on_device} of weights on the device at a time)")
    suggestions.append("a smaller model")
    takes = f"take {_gigabytes(needed)} of {_gigabytes(device.total)}"
    return (
        f"{spec.label} does not fit into this machine's memory, not even alone and one picture "
        f"at a time: its weights {takes}. What would help: {_listed(suggestions)}."
    )


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:,.1f} GB" if size >= _GIGABYTE // 10 else "less than 0.1 GB"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
