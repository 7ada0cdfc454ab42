"""One stream of news, any number of watchers, nobody waits for a slow one.

News comes under a key, and only the newest of each key counts: a watcher that was away for a
while finds one item for each key that changed, not a backlog. So a hundred slow browsers cost
no memory, and a run never waits for any of them.

Follow a run from the store alone: one that has ended, or that another process works on.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from typing import Generic, TypeVar

from compare.records import Job
from compare.store.store import Store

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Broadcast(Generic[Key, Item]):
    """The present state under each key, and whoever wants to know of changes.

    Lives on one event loop. `interval` is the least time in seconds between two hurried-past
    items of the same key (see `publish_soon`).
    """

    def __init__(self, *, interval: float = 0.1) -> None:
        self._interval = interval
        self._items: dict[Key, Item] = {}
        self._told_at: dict[Key, float] = {}
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._watchers: set[_Watcher[Key]] = set()
        self.closed = False

    @property
    def items(self) -> tuple[Item, ...]:
        """The newest item of each key, in the order in which the keys first came."""
        return tuple(self._items.values())

    def publish(self, key: Key, item: Item) -> None:
        """Tell everybody now."""
        self._items[key] = item
        self._tell(key)

    def publish_soon(self, key: Key, item: Item) -> None:
        """Tell everybody, but no more than once an interval; the last item is never lost."""
        self._items[key] = item
        if key in self._later:
            return
        loop = asyncio.get_running_loop()
        wait = self._told_at.get(key, float("-inf")) + self._interval - loop.time()
        if wait <= 0:
            self._tell(key)
        else:
            self._later[key] = loop.call_later(wait, self._tell, key)

    def close(self) -> None:
        """Say that nothing more will come; watchers end when they have seen everything."""
        for key in tuple(self._later):
            self._tell(key)
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

    def _tell(self, key: Key) -> None:
        if timer := self._later.pop(key, None):
            timer.cancel()
        self._told_at[key] = asyncio.get_running_loop().time()
        for watcher in self._watchers:
            watcher.unseen[key] = None
            watcher.awake.set()


class _Watcher(Generic[Key]):
    """What one watcher has not seen yet: keys in order of change, each once."""

    def __init__(self, unseen: dict[Key, None]) -> None:
        self.unseen = unseen
        self.awake = asyncio.Event()


_POLL_SECONDS = 1.0


class UnknownRun(LookupError):
    """There is no such run, or no such job in it."""


async def follow(store: Store, run_id: str) -> AsyncGenerator[Job, None]:
    """Yield every job as it stands, then each change, until all have ended.

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
