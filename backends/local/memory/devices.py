"""Devices, their number formats and memory budgets, and the assignment of models to devices."""

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
_DEFAULT_SHARES: Final = {"cuda": 0.8, "mps": 0.5, "cpu": 0.5}
_NVIDIA_GPUS: Final = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Device:
    """A device by torch's name, its default number format, and its memory in bytes.

    `budget` is the memory that models may occupy between runs, of the device's `total`.
    `ram_budget` is the RAM that evicted and offloaded models may occupy; None if the device
    computes in RAM itself.
    """

    name: str
    dtype: str
    budget: int
    total: int
    ram_budget: int | None = None

    @property
    def kind(self) -> str:
        """The name without the number: cuda, mps or cpu."""
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Budgets:
    """The user's limits: gigabytes on each device and in RAM, and how many devices share them."""

    device_gb: str | None = None
    ram_gb: str | None = None
    shared_by: int = 1


def device_names(setting: str | None) -> tuple[str, ...]:
    """Return the names of the devices that share the models, one a lane, without heavy imports.

    `setting` is the user's list. Without it the result has one device for each visible NVIDIA card,
    or one where counting the cards would need a driver (Windows, AMD).
    """
    if setting and setting != AUTO:
        return tuple(dict.fromkeys(name.strip() for name in setting.split(",") if name.strip()))
    count = _count_nvidia_gpus()
    return (AUTO,) if count < 2 else tuple(f"cuda:{number}" for number in range(count))


def choose_device(requested: str = AUTO, budgets: Budgets | None = None) -> Device:
    """Choose the requested device, or else CUDA, MPS or the CPU, in this order. Imports torch.

    A processor with a number (cpu:0) is treated like a card with its own memory, so that lanes,
    offloading and both budgets can be tried without a card.

    Raises:
        NotReady: there is no such device, or a budget is not a number.
    """
    import psutil
    import torch

    budgets = budgets or Budgets()
    name = requested
    if requested == AUTO:
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, number = name.partition(":")
    if not _device_exists(kind, number):
        raise NotReady(f"There is no device '{name}' here. Set LINEUP_DEVICE to cuda, mps or cpu.")
    memory = int(psutil.virtual_memory().total)
    if kind == "cuda":
        # bfloat16 has float32's range: models that overflow to black in float16 work in it.
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        total = int(torch.cuda.get_device_properties(name).total_memory)
    else:
        dtype = "float16" if kind == "mps" else "float32"
        total = memory
    budget = _parse_gigabytes("LINEUP_MEMORY_GB", budgets.device_gb)
    if budget is None:
        budget = int(total * _DEFAULT_SHARES[kind]) // (1 if kind == "cuda" else budgets.shared_by)
    ram_budget = None
    if kind == "cuda" or number:
        ram_budget = _parse_gigabytes("LINEUP_RAM_GB", budgets.ram_gb)
        ram_budget = (
            int(memory * _DEFAULT_SHARES["cpu"]) if ram_budget is None else ram_budget
        ) // budgets.shared_by
    # torch has only one processor: cpu:1 is cpu.
    return Device("cpu" if kind == "cpu" else name, dtype, budget, total, ram_budget)


def free_memory(device: Device, created: int | None = None) -> None:
    """Return memory that is no longer referenced to the device.

    `created` is the `freeze_count` from before the unreferenced objects were created, if known.
    """
    import torch

    collect_garbage(created)
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def _count_nvidia_gpus() -> int:
    """Count the NVIDIA cards that torch would see, from file names and variables alone."""
    if (
        importlib.util.find_spec("spaces") is not None
    ):  # a ZeroGPU Space: one card, and only inside marked functions
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
        return len(list(_NVIDIA_GPUS.iterdir()))
    except OSError:
        return 0


def _device_exists(kind: str, number: str) -> bool:
    import torch

    if kind not in _DEFAULT_SHARES or (number and not number.isdecimal()):
        return False
    return kind != "cuda" or int(number or 0) < torch.cuda.device_count()


def _parse_gigabytes(setting: str, gigabytes: str | None) -> int | None:
    if not gigabytes:
        return None
    try:
        number = float(gigabytes)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise NotReady(f"{setting} is not a number of gigabytes. Set it to one, such as 12.")
    return int(number * _GIGABYTE)


_FIRST_INDEX: Final = ":0"


class DeviceAssignment:
    """A fixed device for each model, since its weights are cached there.

    A new model gets the device with the fewest models, or the `device` in its `options`.
    """

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self._assigned: dict[str, str] = {}
        self._pinned: dict[str, None] = {}

    @property
    def used(self) -> tuple[str, ...]:
        """All devices that may have been used: the shared ones and those of pinned models."""
        return tuple(dict.fromkeys((*self.devices, *self._pinned)))

    def device_of(self, model: Model) -> str:
        """Return the device of `model`."""
        pinned = str(model.options.get("device") or "")
        if pinned:
            pinned = pinned + _FIRST_INDEX if pinned + _FIRST_INDEX in self.devices else pinned
            self._pinned[pinned] = None
            return pinned
        if model.source not in self._assigned:
            load = Counter(self._assigned.values())
            self._assigned[model.source] = min(self.devices, key=lambda name: load[name])
        return self._assigned[model.source]


@cache
def device_assignment(devices: tuple[str, ...]) -> DeviceAssignment:
    """Return the assignment for these devices; all backends of the process share it."""
    return DeviceAssignment(devices)
