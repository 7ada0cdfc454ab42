"""Lanes: how many jobs of one kind may run at once.

A graphics card draws one picture at a time, a hosted service many. Jobs wait in their own lane,
first come first served; one lane never waits for another.
"""

import asyncio

from backends.base import Lane


class Lanes:
    """One fair semaphore for each lane's name; `async with lanes.of(lane):` is one turn.

    A waiter that is cancelled leaves the queue without having taken a turn.
    """

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Semaphore] = {}

    def of(self, lane: Lane) -> asyncio.Semaphore:
        """Return the turns of `lane`. The first width that a name came with holds."""
        return self._turns.setdefault(lane.name, asyncio.Semaphore(max(1, lane.width)))
