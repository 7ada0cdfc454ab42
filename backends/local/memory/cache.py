"""A cache of loaded models with two budgets, device memory and RAM, and LRU eviction.

Models that no longer fit on the device are moved to RAM if there is room: moving one back takes a
fraction of the time of loading it from disk. Models that no longer fit in RAM are released. An
offloaded model stays in RAM as a whole; only its active parts pass through the device. A processor
computes in RAM, so there is only the first budget.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from backends.lazy_import import freeze_count

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[T]):
    """A cached value with its memory in bytes.

    `size` is its memory on the device, `offloaded` its memory in RAM, and `transient` the memory
    that it occupies on the device during a run only. `evicted`: its part on the device has been
    moved to RAM.
    """

    value: T
    size: int
    offloaded: int = 0
    transient: int = 0
    evicted: bool = False

    @property
    def on_device(self) -> int:
        """The bytes on the device between runs."""
        return 0 if self.evicted else self.size

    @property
    def in_ram(self) -> int:
        """The bytes in RAM between runs."""
        return self.offloaded + (self.size if self.evicted else 0)


class ModelCache(Generic[T]):
    """Loaded models by key. Only the worker thread of a device uses its cache, so it has no locks.

    The budgets are in bytes. `move` moves a value to RAM (True) or back to the device (False);
    without it, values that do not fit on the device are released. `free` is called after that, with
    the `freeze_count` from before the value was loaded (see `collect_garbage`).
    """

    def __init__(
        self,
        device_budget: int,
        free: Callable[[int | None], None] = lambda created: None,
        *,
        ram_budget: int = 0,
        move: Callable[[T, bool], None] | None = None,
    ) -> None:
        self.device_budget, self.ram_budget = device_budget, ram_budget
        self._free, self._move = free, move
        self._entries: dict[Hashable, CacheEntry[T]] = {}  # in order of use, the latest last
        self._created: dict[Hashable, int] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def device_bytes(self) -> int:
        """The bytes in use on the device between runs."""
        return sum(entry.on_device for entry in self._entries.values())

    @property
    def ram_bytes(self) -> int:
        """The bytes in use in RAM between runs."""
        return sum(entry.in_ram for entry in self._entries.values())

    def get(
        self,
        key: Hashable,
        load: Callable[[], CacheEntry[T]],
        *,
        expected: int = 0,
        keep: frozenset[Hashable] = frozenset(),
    ) -> T:
        """Return the value of `key`; load it, or move it back to the device, if necessary.

        Before loading, room is made for the `expected` bytes; the keys in `keep` are not evicted.
        """
        entry = self._entries.pop(key, None)
        if entry is None:
            self.shrink(device_budget=self.device_budget - expected, keep=keep)
            self._created[key] = freeze_count()
            entry = load()
        elif entry.evicted:
            entry = replace(entry, evicted=False)
            self.shrink(device_budget=self.device_budget - entry.size, keep=keep)
            if self._move is not None:
                self._move(entry.value, False)  # if that fails, the next run loads it
        self._entries[key] = entry
        return entry.value

    def shrink(
        self, *, device_budget: int | None = None, keep: frozenset[Hashable] = frozenset()
    ) -> None:
        """Evict the least recently used values until both budgets hold, except those in `keep`.

        Values in `keep` are about to run, so their transient memory counts too.
        """
        device_budget = self.device_budget if device_budget is None else device_budget
        size = self.device_bytes + sum(
            self._entries[key].transient for key in keep if key in self._entries
        )
        for key in [key for key in self._entries if key not in keep]:
            if size <= device_budget:
                break
            entry = self._entries[key]
            if entry.on_device:
                size -= entry.on_device
                self._evict(key, entry)
        for key in [
            key for key, entry in self._entries.items() if entry.in_ram and key not in keep
        ]:
            if self.ram_bytes <= self.ram_budget:
                break
            self._remove(key)

    def discard(self, outdated: Callable[[Hashable], bool]) -> None:
        """Release the values whose keys are outdated."""
        for key in [key for key in self._entries if outdated(key)]:
            self._remove(key)

    def clear(self) -> None:
        """Release everything."""
        if self._entries:
            self._entries.clear()
            self._free(min(self._created.values()))
            self._created.clear()

    def abandon(self) -> None:
        """Drop all entries without any call to the device, which has been lost."""
        self._entries.clear()
        self._created.clear()

    def _evict(self, key: Hashable, entry: CacheEntry[T]) -> None:
        if self._move is None or entry.offloaded or entry.size > self.ram_budget:
            return self._remove(key)  # offloaded models move by their own hooks
        self._move(entry.value, True)
        self._entries[key] = replace(entry, evicted=True)
        self._free(self._created[key])

    def _remove(self, key: Hashable) -> None:
        del self._entries[key]
        self._free(self._created.pop(key))
