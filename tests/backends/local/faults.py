"""Everything that can be wrong with a model on this machine, and how to make it so."""

import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_pre_hook

from backends.base import Model, Sizes
from backends.errors import BackendError, BadInput, MissingWeights, NotReady, ServiceFault
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny.autoregressive import autoregressive
from tests.backends.local.tiny.cascade import cascade
from tests.backends.local.tiny.discrete import discrete

FAMILIES = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
SIZES = Sizes(native=((64, 64),), only_native=True)
STEPS = {"diffusion": 4, "masked": 4, "discrete": 4, "autoregressive": 16, "cascade": 4 + 2}
"""Of 4 that are asked for: a picture has its own number of tokens, a second stage half of them."""
DENOISERS = {
    "diffusion": "UNet2DConditionModel",
    "masked": "UVit2DModel",
    "discrete": "Transformer2DModel",
    "autoregressive": "LlamaModel",
    "cascade": "UNet2DConditionModel",
}
READERS = {"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "LlamaModel"}
DECODERS = {"Decoder", "JanusVQVAEDecoder"}


class Fault(StrEnum):
    """What is wrong with a model, or befalls it."""

    CUT = "weights cut short"
    GARBAGE = "weights that are something else"
    FEWER = "weights without some layers"
    OTHER = "weights of another size"
    WHOLE_NUMBERS = "weights in whole numbers"
    FORMAT = "a number format that nobody knows"
    CLASS = "a class that nobody knows"
    PART = "a part of another class"
    SPEECHLESS = "a model that takes no prompt"
    PICKLE = "a pickle file"
    LOST = "a device that is lost"
    NAN = "a denoiser whose numbers are none"
    INFINITE = "a denoiser whose numbers are infinite"
    NAN_PIXELS = "a decoder whose pixels are no numbers"
    INFINITE_PIXELS = "a decoder whose pixels are infinite"


EXPECTED: dict[Fault, tuple[type[BackendError], str]] = {
    Fault.CUT: (MissingWeights, "damaged or cut short"),
    Fault.GARBAGE: (MissingWeights, "damaged or cut short"),
    Fault.FEWER: (MissingWeights, "leave layers of its class .* empty"),
    Fault.OTHER: (MissingWeights, "other sizes"),
    Fault.WHOLE_NUMBERS: (MissingWeights, "whole numbers"),
    Fault.FORMAT: (BadInput, "no number format .float12."),
    Fault.CLASS: (NotReady, "GrandPipeline|grand"),
    Fault.PART: (MissingWeights, "leave layers of its class AutoencoderTiny empty"),
    Fault.SPEECHLESS: (NotReady, "no prompt"),
    Fault.PICKLE: (NotReady, "pickle"),
    Fault.LOST: (ServiceFault, "Start Lineup again"),
    Fault.NAN: (ServiceFault, "computed no picture: the (latents|probabilities) .* are not numb"),
    Fault.INFINITE: (ServiceFault, "computed no picture: the (latents|probabilities) .* are not n"),
    Fault.NAN_PIXELS: (ServiceFault, "computed no picture: the pixels .* are not numbers"),
    Fault.INFINITE_PIXELS: (ServiceFault, "computed no picture: the pixels .* are not numbers"),
}
IMPOSSIBLE = {
    ("autoregressive", Fault.SPEECHLESS): "its folder names a kind of model, not a pipeline",
    ("autoregressive", Fault.PART): "it is one model, without parts",
    ("cascade", Fault.NAN_PIXELS): "it has no decoder: its numbers are the pixels",
    ("cascade", Fault.INFINITE_PIXELS): "it has no decoder: its numbers are the pixels",
    ("discrete", Fault.PART): "the classes of its parts stand in the code, not in its folder",
}


def model(family: str, here: Path) -> Model:
    """A small model of that family, in `here`."""
    match family:
        case "cascade":
            base, upper = cascade(here)
            return tiny.model(base, sizes=SIZES, options={"stages": str(upper)})
        case "diffusion":
            return tiny.model(tiny.diffusion(here), sizes=SIZES)
        case "masked":
            return tiny.model(tiny.masked(here), sizes=SIZES)
        case "discrete":
            return tiny.model(discrete(here), sizes=SIZES)
        case _:
            return tiny.model(autoregressive(here), sizes=SIZES)


def faulty(model: Model, family: str, fault: Fault, here: Path) -> Model:
    """A copy of that model with the fault, in `here`."""
    folder = Path(shutil.copytree(model.source, here))
    broken = replace(model, source=str(folder))
    weights = _weights(folder)
    match fault:
        case Fault.CUT:
            weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        case Fault.GARBAGE:
            weights.write_bytes(b"<html>Not found</html>" * 1000)
        case Fault.FEWER:
            _rewrite(weights, lambda tensors: dict(list(tensors.items())[::2]))
        case Fault.OTHER:
            _rewrite(weights, lambda tensors: {k: torch.cat([v, v]) for k, v in tensors.items()})
        case Fault.WHOLE_NUMBERS:
            _rewrite(weights, lambda tensors: {k: v.to(torch.int8) for k, v in tensors.items()})
        case Fault.FORMAT:
            return replace(broken, options={**model.options, "torch_dtype": "float12"})
        case Fault.CLASS if family == "autoregressive":
            _edit(folder / "config.json", model_type="grand", architectures=["GrandModel"])
        case Fault.CLASS:
            _edit(folder / "model_index.json", _class_name="GrandPipeline")
        case Fault.PART:
            _edit(weights.parent / "config.json", _class_name="AutoencoderTiny")
            index = json.loads((folder / "model_index.json").read_text())
            _edit(
                folder / "model_index.json",
                **{weights.parent.name: [index[weights.parent.name][0], "AutoencoderTiny"]},
            )
        case Fault.SPEECHLESS:
            _edit(folder / "model_index.json", _class_name="DDPMPipeline")
        case Fault.PICKLE:
            weights.rename(weights.with_suffix(".bin"))
        case Fault.LOST:
            pass
        case Fault.NAN | Fault.INFINITE:
            value = float("nan" if fault is Fault.NAN else "inf")
            _rewrite(weights, lambda tensors: _overflowing(tensors, value, _DENOISING[family]))
        case Fault.NAN_PIXELS | Fault.INFINITE_PIXELS:
            value = float("nan" if fault is Fault.NAN_PIXELS else "inf")
            _rewrite(_decoder(folder), lambda tensors: _overflowing(tensors, value, _DECODING))
    return broken


_DENOISING = {
    "diffusion": "conv_out.bias",
    "masked": "mlm_layer.conv2.weight",
    "discrete": "transformer_blocks.0.ff.net.2.bias",
    "autoregressive": "generation_head.proj_out.bias",
    "cascade": "conv_out.bias",
}
"""The denoisers' last weights, by the end of their names."""
_DECODING = "decoder.conv_out.bias"


def _overflowing(tensors: dict[str, Any], value: float, ending: str) -> dict[str, Any]:
    """The weights, those whose name has that ending overflowed."""
    [name] = [name for name in tensors if f".{name}".endswith(f".{ending}")]
    return tensors | {name: torch.full_like(tensors[name], value)}


def _decoder(folder: Path) -> Path:
    for part in ("vae", "vqvae", "."):
        for name in (tiny.WEIGHTS, "model.safetensors"):
            if (folder / part / name).is_file():
                return folder / part / name
    raise FileNotFoundError(folder)


@contextmanager
def lost(family: str, fault: Fault) -> Generator[None, None, None]:
    """The driver gives up at the denoiser's second step, where the fault is that."""
    calls = 0

    def called(module: Any, _: Any) -> None:
        nonlocal calls
        calls += type(module).__name__ == DENOISERS[family]
        if calls > 1:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")

    if fault is not Fault.LOST:
        yield
        return
    handle = register_module_forward_pre_hook(called)
    try:
        yield
    finally:
        handle.remove()


def _weights(folder: Path) -> Path:
    """The denoiser's file."""
    for part in ("unet", "transformer", "."):
        for name in (tiny.WEIGHTS, "model.safetensors"):
            if (folder / part / name).is_file():
                return folder / part / name
    raise FileNotFoundError(folder)


def _rewrite(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def _edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
