"""Where a model's weights lie and in how many bits: on the device, waiting in RAM, packed.

    offload         on the device while it draws      speed
    ""              everything                        full
    "model"         the part at work (text encoder,   a second or so a picture for the moves
                    denoiser, decoder)
    "group"         a few layers at a time            the weights cross the bus at every step

Packing keeps linear layers in 8 bit (LLM.int8, https://arxiv.org/abs/2208.07339) or 4 bit (NF4,
https://arxiv.org/abs/2305.14314), through bitsandbytes. The layers are exchanged here, after
loading, for two reasons: diffusers itself takes bitsandbytes only where there is a GPU, and a
single file goes the same way as a folder.

What to say when a model does not fit: what would, with numbers.
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
_UNPACKED: Final = ("vae", "vqvae", "movq", "safety_checker", "image_encoder")
_STAGE: Final = re.compile(r"^stage_\d+_")
_DENOISERS: Final = ("unet", "transformer", "transformer_2", "prior", "decoder")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of weights: on the device for good, on it while drawing only, and in RAM."""

    size: int
    passing: int = 0
    waiting: int = 0

    @property
    def drawing(self) -> int:
        """The bytes that must fit on the device for a run, without what the run itself takes."""
        return self.size + self.passing


def supported_spec(recipe: ModelSpec, device: Device) -> tuple[ModelSpec, dict[str, Applied]]:
    """Return `recipe` as `device` can take it, and what of it was ignored.

    Raises:
        BackendError: a choice is none, or needs a package that is not there.
    """
    if recipe.offload not in OFFLOADS:
        raise BadInput(f"There is no offload '{recipe.offload}'. Choose one of {_known(OFFLOADS)}.")
    if recipe.quantization not in QUANTIZATIONS:
        raise BadInput(
            f"There is no quantization '{recipe.quantization}'. "
            f"Choose one of {_known(QUANTIZATIONS)}."
        )
    if recipe.quantization and find_spec("bitsandbytes") is None:
        raise MissingPackage(
            f"Loading {recipe.label} in {recipe.quantization} needs bitsandbytes. {PACKAGES}"
        )
    if recipe.offload and device.ram is None:
        note = f"offload ignored: {device.kind} draws in the machine's own memory"
        honour = Applied(recipe.offload, None, note)
        return replace(recipe, offload=""), {"offload": honour}
    return recipe, {}


def footprint(parts: Mapping[str, int], recipe: ModelSpec, itemsize: int) -> Footprint:
    """What weights of so many numbers take as `recipe` wants them, `itemsize` bytes a number.

    An estimate where they are packed: not every layer is.
    """
    bits = {"8 bit": 1.0, "4 bit": 0.5}.get(recipe.quantization, itemsize)
    sizes = [
        int(count * (itemsize if name in _UNPACKED else min(bits, itemsize)))
        for name, count in parts.items()
    ]
    return _placed(sizes, recipe.offload)


def place(pipeline: Any, recipe: ModelSpec, device: Device) -> tuple[Footprint, dict[str, Applied]]:
    """Pack `pipeline` and bring it to `device` as `recipe` wants it.

    Returns what it takes, and what was ignored.
    """
    parts = parts_of(pipeline)
    if recipe.quantization:
        for name, part in parts.items():
            if name not in _UNPACKED:
                _pack(part, four=recipe.quantization == "4 bit")
                part.to("cpu")  # the first move packs
    ignored: dict[str, Applied] = {}
    offload = recipe.offload
    if offload and not hasattr(pipeline, "enable_model_cpu_offload"):
        note = f"offload ignored: {recipe.label} cannot be taken apart for it"
        ignored["offload"], offload = Applied(offload, None, note), ""
    stay = [name for name, part in parts.items() if offload == "group" and _whole(part)]
    if not offload:
        pipeline.to(device.name)
        return Footprint(weight(list(parts.values()))), ignored
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device.name)
    else:
        pipeline.enable_group_offload(
            onload_device=torch.device(device.name),
            offload_type="leaf_level",
            use_stream=device.kind == "cuda",  # the next layer comes while this one works
            low_cpu_mem_usage=True,
            exclude_modules=stay,  # and are on the device
        )
    moving = [weight([part]) for name, part in parts.items() if name not in stay]
    lies = _placed(moving, offload)
    return replace(lies, size=weight([parts[name] for name in stay])), ignored


@contextmanager
def without_offload_hooks(pipeline: Any, device: Device) -> Generator[None]:
    """While layers are put on or taken off: the hooks of model offload, if it has any, are away.

    diffusers would take them off by itself, and put them back for whatever card it sees first.
    """
    if not getattr(pipeline, "_all_hooks", ()):
        yield
        return
    pipeline.remove_all_hooks()
    try:
        yield
    finally:
        pipeline.enable_model_cpu_offload(device=device.name)


def release(pipeline: Any, recipe: ModelSpec) -> None:
    """After a run, finished or not: what was on the device for it goes back to RAM."""
    if recipe.offload == "model" and hasattr(pipeline, "maybe_free_model_hooks"):
        pipeline.maybe_free_model_hooks()


def parts_of(pipeline: Any) -> dict[str, nn.Module]:
    """The networks of a pipeline by name."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def denoisers(pipeline: Any) -> list[nn.Module]:
    """The networks that work at every step, those of a cascade's further stages too."""
    parts = parts_of(pipeline)
    return [part for name, part in parts.items() if _STAGE.sub("", name) in _DENOISERS]


def weight(modules: list[nn.Module]) -> int:
    """The bytes of all weights; those that two parts share count once."""
    tensors: dict[int, torch.Tensor] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            tensors[tensor.data_ptr()] = tensor
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _placed(sizes: list[int], offload: str) -> Footprint:
    if not offload:
        return Footprint(sum(sizes))
    return Footprint(0, max(sizes, default=0) if offload == "model" else 0, sum(sizes))


def _whole(part: nn.Module) -> bool:
    """Whether diffusers cannot cut `part` into groups."""
    return not getattr(part, "_supports_group_offloading", True)


def _pack(module: nn.Module, *, four: bool) -> None:
    """Exchange the linear layers of `module` for packed ones.

    Adapters stay as they are, and so does what the model says must be kept in full precision.
    """
    layers: Any = importlib.import_module("bitsandbytes.nn")
    kept = frozenset(getattr(module, "_keep_in_fp32_modules", None) or ())
    for name, layer in list(module.named_modules()):
        if type(layer) is not nn.Linear or "lora_" in name or kept & set(name.split(".")):
            continue
        bias: Any = layer.bias
        shape = (layer.in_features, layer.out_features, bias is not None)
        values = layer.weight.data
        if four:
            packed = layers.Linear4bit(*shape, compute_dtype=values.dtype, quant_type="nf4")
            packed.weight = layers.Params4bit(values, requires_grad=False, quant_type="nf4")
            # A kernel of some processors, which takes not every width, packs the weights anew at
            # the first use after something else (a LoRA, say) has said that nothing trains.
            packed.support_avx512bf16_for_cpu = False
        else:
            packed = layers.Linear8bitLt(*shape, has_fp16_weights=False)
            packed.weight = layers.Int8Params(values, requires_grad=False, has_fp16_weights=False)
        packed.bias = bias
        module.set_submodule(name, packed)


def _known(choices: tuple[str, ...]) -> str:
    return ", ".join(f"'{choice}'" if choice else "empty" for choice in choices)


_GIGABYTE: Final = 1_000_000_000


def advice(
    recipe: ModelSpec,
    device: Device,
    counts: Mapping[str, int],
    itemsize: int,
    size: tuple[int, int],
) -> str:
    """The sentences for the card of `recipe`, which ran out of memory on `device` all alone.

    `counts` are the numbers that the weights of each part are, `itemsize` the bytes of one as
    they would be loaded, and `size` the picture's width and height.
    """
    needs = footprint(counts, recipe, itemsize).drawing
    helps: list[str] = []
    if needs < device.total:
        width, height = (side // 16 * 8 for side in size)
        helps.append(f"a smaller picture, such as {width}x{height}")
    for quantization in QUANTIZATIONS[1:]:
        takes = footprint(counts, replace(recipe, quantization=quantization), itemsize).drawing
        if takes < min(needs, device.total):
            helps.append(f"quantization to {quantization} ({_gigabytes(takes)} of weights)")
    for offload in OFFLOADS[1:]:
        lighter = footprint(counts, replace(recipe, offload=offload), itemsize)
        if device.ram is None or lighter.drawing >= min(needs, device.total):
            continue
        there = _gigabytes(lighter.drawing) if lighter.drawing else "hardly any"
        helps.append(f"offload '{offload}' ({there} of weights on the device at a time)")
    helps.append("a smaller model")
    takes = f"take {_gigabytes(needs)} of {_gigabytes(device.total)}"
    return (
        f"{recipe.label} does not fit into this machine's memory, not even alone and one picture "
        f"at a time: its weights {takes}. What would help: {_listed(helps)}."
    )


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:,.1f} GB" if size >= _GIGABYTE // 10 else "less than 0.1 GB"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
