"""What stays in memory between runs: two budgets, and the least recently used goes first.

What no longer fits on the device waits in the machine's RAM where there is room for it, from where
it is back in a fraction of the time that reading it from the disk takes; what no longer fits there
is let go of. A model that is offloaded waits in RAM as a whole, and only what is at work passes
through the device. Where the device draws in RAM itself (a processor), there is one budget.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[T]):
    """One thing in memory.

    `size` is its bytes on the device, `waiting` its bytes in RAM, and `passing` the bytes that it
    takes on the device while it draws and gives back afterwards. `away`: what belongs on the
    device has been moved to RAM.
    """

    value: T
    size: int
    waiting: int = 0
    passing: int = 0
    away: bool = False

    @property
    def on_device(self) -> int:
        """The bytes on the device between runs."""
        return 0 if self.away else self.size

    @property
    def in_ram(self) -> int:
        """The bytes in RAM between runs."""
        return self.waiting + (self.size if self.away else 0)


class ModelCache(Generic[T]):
    """Loaded models by key. Only the worker thread of a device touches its pool, so no locks.

    `bound` and `ram` are the two budgets in bytes. `move` takes a thing away from the device
    (True) or brings it back (False); without it, what does not fit on the device is let go of.
    """

    def __init__(
        self,
        bound: int,
        freed: Callable[[], None] = lambda: None,
        *,
        ram: int = 0,
        move: Callable[[T, bool], None] | None = None,
    ) -> None:
        self.bound, self.ram = bound, ram
        self._freed, self._move = freed, move
        self._held: dict[Hashable, CacheEntry[T]] = {}  # the most recently used last

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """The bytes that are on the device now."""
        return sum(held.on_device for held in self._held.values())

    @property
    def waiting(self) -> int:
        """The bytes that are in RAM now."""
        return sum(held.in_ram for held in self._held.values())

    def get(
        self,
        key: Hashable,
        load: Callable[[], CacheEntry[T]],
        *,
        expected: int = 0,
        keep: frozenset[Hashable] = frozenset(),
    ) -> T:
        """Return what is held under `key`, loading it or bringing it back where it is not there.

        Room is made first for the `expected` bytes of what has to be loaded; `keep` stays.
        """
        held = self._held.pop(key, None)
        if held is None:
            self.shrink(bound=self.bound - expected, keep=keep)
            held = load()
        elif held.away:
            held = replace(held, away=False)
            self.shrink(bound=self.bound - held.size, keep=keep)
            if self._move is not None:
                self._move(held.value, False)  # where that fails, it is loaded anew next time
        self._held[key] = held
        return held.value

    def shrink(self, *, bound: int | None = None, keep: frozenset[Hashable] = frozenset()) -> None:
        """Make the budgets hold, the least recently used first; `keep` stays in any case.

        What stays is about to draw, so what it takes meanwhile counts too.
        """
        bound = self.bound if bound is None else bound
        size = self.size + sum(self._held[key].passing for key in keep if key in self._held)
        for key in [key for key in self._held if key not in keep]:
            if size <= bound:
                break
            held = self._held[key]
            if held.on_device:
                size -= held.on_device
                self._take_away(key, held)
        for key in [key for key, held in self._held.items() if held.in_ram and key not in keep]:
            if self.waiting <= self.ram:
                break
            self._let_go(key)

    def clear(self) -> None:
        """Let go of everything."""
        for key in tuple(self._held):
            self._let_go(key)

    def forget(self) -> None:
        """Let go of everything without a word to the device, which is lost."""
        self._held.clear()

    def _take_away(self, key: Hashable, held: CacheEntry[T]) -> None:
        if self._move is None or held.waiting or held.size > self.ram:
            return self._let_go(key)  # what is offloaded has its own way of moving
        self._move(held.value, True)
        self._held[key] = replace(held, away=True)
        self._freed()

    def _let_go(self, key: Hashable) -> None:
        del self._held[key]
        self._freed()
