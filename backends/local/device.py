"""Which device draws, in which number format, and how much of its memory models may keep."""

from dataclasses import dataclass
from typing import Final

from backends.errors import NotReady
from backends.lasting import sweep

AUTO: Final = "auto"
_GIGABYTE: Final = 1_000_000_000
_SHARE: Final = {"cuda": 0.8, "mps": 0.5, "cpu": 0.5}


@dataclass(frozen=True, slots=True)
class Device:
    """A device as torch names it, the format that suits it, and the bound in bytes."""

    name: str
    dtype: str
    bound: int

    @property
    def kind(self) -> str:
        """The name without the number: cuda, mps or cpu."""
        return self.name.partition(":")[0]


def choose(wanted: str = AUTO, memory_gb: str | None = None) -> Device:
    """Choose CUDA, else MPS, else the CPU, unless the user wants one. Imports torch."""
    import psutil
    import torch

    name = wanted
    if wanted == AUTO:
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind = name.partition(":")[0]
    if kind not in _SHARE or (kind == "cuda" and not torch.cuda.is_available()):
        raise NotReady(f"There is no device '{name}' here. Set LINEUP_DEVICE to cuda, mps or cpu.")
    if kind == "cuda":
        # bfloat16 has float32's range: models whose float16 overflows to black come out right.
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        total = torch.cuda.get_device_properties(name).total_memory
    else:
        dtype = "float16" if kind == "mps" else "float32"
        total = psutil.virtual_memory().total
    bound = _bytes(memory_gb) if memory_gb else int(total * _SHARE[kind])
    return Device(name, dtype, bound)


def free(device: Device) -> None:
    """Give memory that nothing refers to any more back to the device."""
    import torch

    sweep()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def _bytes(gigabytes: str) -> int:
    try:
        number = float(gigabytes)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise NotReady("LINEUP_MEMORY_GB is not a number of gigabytes. Set it to one, such as 12.")
    return int(number * _GIGABYTE)
