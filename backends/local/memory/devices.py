"""Which devices draw, in which number format, and how much memory models may keep there.

Several devices: which one draws which model.
"""

import importlib.metadata
import importlib.util
import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from backends.base import Model
from backends.errors import NotReady
from backends.lazy_import import collect_garbage

AUTO: Final = "auto"
_GIGABYTE: Final = 1_000_000_000
_SHARE: Final = {"cuda": 0.8, "mps": 0.5, "cpu": 0.5}
_CARDS: Final = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Device:
    """A device as torch names it, the format that suits it, and its memory in bytes.

    `bound` is what models may keep on the device between runs and `total` what it has. `ram` is
    what they may keep in the machine's RAM beside it; None where the device draws in RAM itself.
    """

    name: str
    dtype: str
    bound: int
    total: int
    ram: int | None = None

    @property
    def kind(self) -> str:
        """The name without the number: cuda, mps or cpu."""
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the user allows: gigabytes on each device and in RAM, and how many devices share it."""

    device_gb: str | None = None
    ram_gb: str | None = None
    shared_by: int = 1


def several(wanted: str | None) -> tuple[str, ...]:
    """The names of the devices to spread over: one a lane. Imports nothing.

    A list is as the user gave it. With nothing given it is one for each NVIDIA card that can be
    seen; where they cannot be counted without asking a driver (Windows, AMD), it is one.
    """
    if wanted and wanted != AUTO:
        return tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    cards = _cards()
    return (AUTO,) if cards < 2 else tuple(f"cuda:{number}" for number in range(cards))


def choose(wanted: str = AUTO, budgets: Budgets | None = None) -> Device:
    """Choose CUDA, else MPS, else the CPU, unless the user wants one. Imports torch.

    A processor with a number (cpu:0) stands in for a card with memory of its own, so that lanes,
    offloading and both budgets can be tried where there is none.

    Raises:
        NotReady: there is no such device, or a budget is no number.
    """
    import psutil
    import torch

    budgets = budgets or Budgets()
    name = wanted
    if wanted == AUTO:
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, number = name.partition(":")
    if not _there(kind, number):
        raise NotReady(f"There is no device '{name}' here. Set LINEUP_DEVICE to cuda, mps or cpu.")
    memory = int(psutil.virtual_memory().total)
    if kind == "cuda":
        # bfloat16 has float32's range: models whose float16 overflows to black come out right.
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        total = int(torch.cuda.get_device_properties(name).total_memory)
    else:
        dtype = "float16" if kind == "mps" else "float32"
        total = memory
    bound = _bytes("LINEUP_MEMORY_GB", budgets.device_gb)
    if bound is None:
        bound = int(total * _SHARE[kind]) // (1 if kind == "cuda" else budgets.shared_by)
    ram = None
    if kind == "cuda" or number:
        ram = _bytes("LINEUP_RAM_GB", budgets.ram_gb)
        ram = (int(memory * _SHARE["cpu"]) if ram is None else ram) // budgets.shared_by
    # Torch knows one processor only: cpu:1 is cpu.
    return Device("cpu" if kind == "cpu" else name, dtype, bound, total, ram)


def free(device: Device) -> None:
    """Give memory that nothing refers to any more back to the device."""
    import torch

    collect_garbage()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def _cards() -> int:
    """How many NVIDIA cards torch would see, as far as names tell."""
    if importlib.util.find_spec("spaces") is not None:  # a ZeroGPU Space: one, and not always
        return 0
    try:
        if "+cpu" in importlib.metadata.version("torch"):
            return 0
    except importlib.metadata.PackageNotFoundError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        return len(list(_CARDS.iterdir()))
    except OSError:
        return 0


def _there(kind: str, number: str) -> bool:
    import torch

    if kind not in _SHARE or (number and not number.isdecimal()):
        return False
    return kind != "cuda" or int(number or 0) < torch.cuda.device_count()


def _bytes(setting: str, gigabytes: str | None) -> int | None:
    if not gigabytes:
        return None
    try:
        number = float(gigabytes)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise NotReady(f"{setting} is not a number of gigabytes. Set it to one, such as 12.")
    return int(number * _GIGABYTE)


_FIRST: Final = ":0"


class DeviceAssignment:
    """Gives each model a device and stays with it, since that is where its weights are.

    A new model goes where the fewest are; one whose `options` name a `device` is pinned to it.
    """

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self._given: dict[str, str] = {}
        self._pinned: dict[str, None] = {}

    @property
    def used(self) -> tuple[str, ...]:
        """All devices that may have drawn: those that are spread over, and others pinned to."""
        return tuple(dict.fromkeys((*self.devices, *self._pinned)))

    def device_of(self, model: Model) -> str:
        """The device that draws `model`."""
        own = str(model.options.get("device") or "")
        if own:
            own = own + _FIRST if own + _FIRST in self.devices else own
            self._pinned[own] = None
            return own
        if model.source not in self._given:
            load = Counter(self._given.values())
            self._given[model.source] = min(self.devices, key=lambda name: load[name])
        return self._given[model.source]


@cache
def device_assignment(devices: tuple[str, ...]) -> DeviceAssignment:
    """The spread over these devices: every backend on this computer shares one."""
    return DeviceAssignment(devices)
