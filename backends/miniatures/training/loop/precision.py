"""The number type in which this processor multiplies matrices fastest.

With bf16 instructions (AMX, AVX512-BF16) bf16 is 4 to 10 times as fast as fp32; without them it is
emulated and several times slower. No flag tells reliably which case holds, so it is measured.
"""

import time
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


@cache
def fastest_dtype() -> torch.dtype:
    """Return bf16 or fp32, whichever has the fastest of a dozen 512x512 matrix products."""
    return min((torch.bfloat16, torch.float32), key=_time_matmul)


def _time_matmul(dtype: torch.dtype) -> float:
    """Return the seconds of the fastest 512x512 matrix product, the first one ignored."""
    square = torch.ones(512, 512, dtype=dtype)
    times: list[float] = []
    for _ in range(12):
        begun = time.perf_counter()
        _ = square @ square
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def cast_at_boundary(model: Model) -> Model:
    """Let a model in `fastest_dtype()` work in a pipeline in fp32, by casting its inputs and
    outputs.
    """

    def cast_inputs(_: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        dtype = fastest_dtype()
        return tuple(_cast(value, dtype) for value in positional), {
            name: _cast(value, dtype) for name, value in keywords.items()
        }

    def cast_outputs(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return output.float()
        if isinstance(output, tuple):
            return tuple(_cast(value, torch.float32) for value in output)
        output.sample = _cast(output.sample, torch.float32)
        return output

    model.register_forward_pre_hook(cast_inputs, with_kwargs=True)
    model.register_forward_hook(cast_outputs)
    return model


def _cast(value: Any, dtype: torch.dtype) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if is_float else value
