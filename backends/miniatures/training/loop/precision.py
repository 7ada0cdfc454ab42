"""The number type that this processor multiplies matrices fastest in.

With bf16 instructions (AMX, AVX512-BF16) bf16 is 4 to 10 times as fast as fp32; without them it is
emulated and several times slower. Nothing says reliably which it is, so it is tried.
"""

import time
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


@cache
def fast_type() -> torch.dtype:
    """bf16 or fp32, whichever the best of a dozen products of 512x512 takes less time in."""
    return min((torch.bfloat16, torch.float32), key=_seconds)


def _seconds(kind: torch.dtype) -> float:
    square = torch.ones(512, 512, dtype=kind)
    times: list[float] = []
    for _ in range(12):
        begun = time.perf_counter()
        _ = square @ square
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def at_border(model: Model) -> Model:
    """Let a model in `fast_type()` work within a pipeline in fp32: it is given and gives fp32."""

    def given(_: nn.Module, words: tuple[Any, ...], named: dict[str, Any]) -> Any:
        fast = fast_type()
        return tuple(_cast(one, fast) for one in words), {
            name: _cast(one, fast) for name, one in named.items()
        }

    def gives(_: nn.Module, __: Any, made: Any) -> Any:
        if isinstance(made, torch.Tensor):
            return made.float()
        if isinstance(made, tuple):
            return tuple(_cast(one, torch.float32) for one in made)
        made.sample = _cast(made.sample, torch.float32)
        return made

    model.register_forward_pre_hook(given, with_kwargs=True)
    model.register_forward_hook(gives)
    return model


def _cast(value: Any, kind: torch.dtype) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(kind) if is_float else value
