"""The number type that this processor multiplies matrices fastest in.

With bf16 instructions (AMX, AVX512-BF16) bf16 is 4 to 10 times as fast as fp32; without them it is
emulated and several times slower. Nothing says reliably which it is, so it is tried.
"""

import time
from functools import cache

import torch


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
