"""Lanes: limits on the number of concurrent jobs of one kind.

A graphics card generates one picture at a time, a hosted service many. Jobs wait in their own
lane, first come first served; one lane never waits for another. A rate limit halves the lane's
width, and each successful job widens it a little: additive increase, multiplicative decrease, as
in TCP (Chiu and Jain 1989).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from backends.base import Lane
from backends.errors import RateLimited


class Lanes:
    """All lanes by name; `async with lanes.slot(lane):` waits for a slot and holds it."""

    def __init__(self) -> None:
        self._limiters: dict[str, LaneLimiter] = {}

    def slot(self, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Return a slot of `lane`. The first width that is given for a name is used for good."""
        if lane.name not in self._limiters:
            self._limiters[lane.name] = LaneLimiter(max(1, lane.width))
        return self._limiters[lane.name].acquire()


class LaneLimiter:
    """The slots of one lane: at most `width` at a time, fewer while its service is rate limited."""

    def __init__(self, width: int) -> None:
        self._max_width = width
        self._width = float(width)
        self._running = 0
        self._reductions = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[None, None]:
        """Wait for a slot, and release it at the end.

        A waiter that is cancelled leaves the queue without a slot. `RateLimited` raised within
        the context halves the lane's width.
        """
        await self._wait()
        reductions = self._reductions
        try:
            yield
        except RateLimited:
            # Of jobs that ran at the same time only the first counts: the others report the same.
            if reductions == self._reductions:
                self._width, self._reductions = max(1.0, self._width / 2), self._reductions + 1
            raise
        else:
            self._width = min(self._max_width, self._width + 1 / self._width)
        finally:
            self._running -= 1
            self._admit()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the slot was assigned at the same moment
                self._running -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._running < int(self._width):
            waiter = self._waiting.popleft()
            if not waiter.cancelled():  # its waiter was cancelled
                self._running += 1
                waiter.set_result(None)
