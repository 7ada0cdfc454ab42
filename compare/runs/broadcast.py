"""Live updates for any number of watchers, and polling of runs that run in another process.

A broadcast keeps only the newest item of each key: a slow watcher finds one item for each key
that has changed, not a backlog. So a hundred slow browsers cost no memory, and a run never waits
for any of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from typing import Generic, TypeVar

from compare.records import Job
from compare.store.store import Store

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Broadcast(Generic[Key, Item]):
    """The newest item of each key, and the watchers of changes.

    Belongs to one event loop. `interval` is the minimum time in seconds between two items of the
    same key that are sent by `publish_soon`.
    """

    def __init__(self, *, interval: float = 0.1) -> None:
        self._interval = interval
        self._items: dict[Key, Item] = {}
        self._sent_at: dict[Key, float] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._watchers: set[_Watcher[Key]] = set()
        self.closed = False

    @property
    def items(self) -> tuple[Item, ...]:
        """The newest item of each key, in the order of the keys' first items."""
        return tuple(self._items.values())

    def publish(self, key: Key, item: Item) -> None:
        """Send an item to all watchers now."""
        self._items[key] = item
        self._notify(key)

    def publish_soon(self, key: Key, item: Item) -> None:
        """Send an item, but at most one per interval; the last item is never lost."""
        self._items[key] = item
        if key in self._timers:
            return
        loop = asyncio.get_running_loop()
        wait = self._sent_at.get(key, float("-inf")) + self._interval - loop.time()
        if wait <= 0:
            self._notify(key)
        else:
            self._timers[key] = loop.call_later(wait, self._notify, key)

    def close(self) -> None:
        """End the broadcast; watchers end when they have received the last items."""
        for key in tuple(self._timers):
            self._notify(key)
        self.closed = True
        for watcher in self._watchers:
            watcher.awake.set()

    async def watch(self) -> AsyncGenerator[Item, None]:
        """Yield the present items, then each change, until the broadcast is closed."""
        watcher = _Watcher(dict.fromkeys(self._items))
        self._watchers.add(watcher)
        try:
            while True:
                while watcher.unseen:
                    key = next(iter(watcher.unseen))
                    del watcher.unseen[key]
                    yield self._items[key]
                if self.closed:
                    return
                watcher.awake.clear()
                await watcher.awake.wait()
        finally:
            self._watchers.discard(watcher)

    def _notify(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._sent_at[key] = asyncio.get_running_loop().time()
        for watcher in self._watchers:
            watcher.unseen[key] = None
            watcher.awake.set()


class _Watcher(Generic[Key]):
    """The keys that one watcher has not seen since their last change, in order of change."""

    def __init__(self, unseen: dict[Key, None]) -> None:
        self.unseen = unseen
        self.awake = asyncio.Event()


_POLL_SECONDS = 1.0


class UnknownRun(LookupError):
    """There is no such run, or no such job in it."""


async def follow(store: Store, run_id: str) -> AsyncGenerator[Job, None]:
    """Poll the store: yield every job's present state, then each change, until all have ended.

    Raises:
        UnknownRun: there is no such run.
    """
    seen: dict[str, Job] = {}
    while True:
        run = await store.run(run_id)
        if run is None:
            raise UnknownRun(f"There is no run {run_id}.")
        for job in run.jobs:
            if seen.get(job.id) != job:
                seen[job.id] = job
                yield job
        if all(job.outcome is not None for job in run.jobs):
            return
        await asyncio.sleep(_POLL_SECONDS)
