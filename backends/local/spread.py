"""Several devices: which one draws which model."""

from collections import Counter
from functools import cache
from typing import Final

from backends.base import Model

_FIRST: Final = ":0"


class Spread:
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
def spread(devices: tuple[str, ...]) -> Spread:
    """The spread over these devices: every backend on this computer shares one."""
    return Spread(devices)
