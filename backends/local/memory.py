"""What stays in memory between runs: at most so many bytes, the least recently used goes first."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """One thing in memory and the bytes of its weights."""

    thing: T
    size: int


class Pool(Generic[T]):
    """Loaded models by key. Only the worker thread of a device touches its pool, so no locks."""

    def __init__(self, bound: int, freed: Callable[[], None] = lambda: None) -> None:
        self.bound = bound
        self._freed = freed
        self._held: dict[Hashable, Held[T]] = {}  # the most recently used last

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """The bytes that are held now."""
        return sum(held.size for held in self._held.values())

    def get(self, key: Hashable, load: Callable[[], Held[T]]) -> T:
        """Return what is held under `key`, loading it first where it is not."""
        held = self._held.pop(key, None)
        if held is None:
            held = load()
        self._held[key] = held
        return held.thing

    def shrink(self, *, bound: int | None = None, keep: frozenset[Hashable] = frozenset()) -> None:
        """Let go of the least recently used until the bound holds; `keep` stays in any case."""
        bound = self.bound if bound is None else bound
        size = self.size
        for key in [key for key in self._held if key not in keep]:
            if size <= bound:
                break
            size -= self._held.pop(key).size
            self._freed()
