"""Lanes: limits on the number of concurrent jobs of one kind.

A graphics card generates one picture at a time, a hosted service many. Jobs wait in their own
lane; one lane never waits for another. The visitors of a lane take turns, and the jobs of one
visitor are first come first served: so a long queue of one lets the short job of another in
between (round-robin scheduling). A rate limit halves the lane's width, and each successful job
widens it a little: additive increase, multiplicative decrease, as in TCP (Chiu and Jain 1989).
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from backends.base import Lane
from backends.errors import RateLimited


class Lanes:
    """All lanes by name; `async with lanes.slot(lane, visitor):` waits for a slot and holds it."""

    def __init__(self) -> None:
        self._limiters: dict[str, LaneLimiter] = {}

    def slot(self, lane: Lane, visitor: str = "") -> AbstractAsyncContextManager[None]:
        """Return a slot of `lane` for a job of `visitor`.

        The first width that is given for a lane's name is used for good.
        """
        if lane.name not in self._limiters:
            self._limiters[lane.name] = LaneLimiter(max(1, lane.width))
        return self._limiters[lane.name].acquire(visitor)


class LaneLimiter:
    """The slots of one lane: at most `width` at a time, fewer while its service is rate limited."""

    def __init__(self, width: int) -> None:
        self._max_width = width
        self._width = float(width)
        self._running: Counter[str] = Counter()
        self._reductions = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns = 0
        self._last_turn: dict[str, int] = {}

    @asynccontextmanager
    async def acquire(self, visitor: str = "") -> AsyncGenerator[None, None]:
        """Wait for a slot, and release it at the end.

        A waiter that is cancelled leaves the queue without a slot. `RateLimited` raised within
        the context halves the lane's width.
        """
        await self._wait(visitor)
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
            self._release(visitor)

    async def _wait(self, visitor: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(visitor, deque()).append(waiter)
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the slot was assigned at the same moment
                self._release(visitor)
            raise

    def _release(self, visitor: str) -> None:
        self._running[visitor] -= 1
        self._admit()
        if not self._running[visitor]:
            del self._running[visitor]
            if visitor not in self._waiting:
                self._last_turn.pop(visitor, None)

    def _admit(self) -> None:
        while self._waiting and self._running.total() < int(self._width):
            visitor = min(self._waiting, key=self._precedence)
            queue = self._waiting[visitor]
            waiter = queue.popleft()
            if not queue:
                del self._waiting[visitor]
            if not waiter.cancelled():  # its waiter was cancelled
                self._running[visitor] += 1
                self._turns += 1
                self._last_turn[visitor] = self._turns
                waiter.set_result(None)

    def _precedence(self, visitor: str) -> tuple[int, int]:
        """Return the sort key of the next turn: fewest running jobs, then longest without one."""
        return self._running[visitor], self._last_turn.get(visitor, 0)
