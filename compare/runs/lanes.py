"""Lanes: how many jobs of one kind may run at once.

A graphics card draws one picture at a time, a hosted service many. Jobs wait in their own lane,
first come first served; one lane never waits for another. A service that says "too many requests"
gets half as many at a time, and with each job that goes well a little more again: additive
increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from backends.base import Lane
from backends.errors import RateLimited


class Lanes:
    """All lanes by name; `async with lanes.of(lane):` is one turn."""

    def __init__(self) -> None:
        self._turns: dict[str, Turns] = {}

    def of(self, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Return a turn of `lane`. The first width that a name came with holds."""
        if lane.name not in self._turns:
            self._turns[lane.name] = Turns(max(1, lane.width))
        return self._turns[lane.name].take()


class Turns:
    """The turns of one lane: at most `width` at a time, fewer while its service is overrun."""

    def __init__(self, width: int) -> None:
        self._most = width
        self._width = float(width)
        self._running = 0
        self._cuts = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[None, None]:
        """Wait for a turn, and give it back at the end.

        A waiter that is cancelled leaves the queue without having taken a turn. A turn that ends
        in `RateLimited` narrows the lane.
        """
        await self._wait()
        cuts = self._cuts
        try:
            yield
        except RateLimited:
            # Of those that were under way together one is enough: the others say the same.
            if cuts == self._cuts:
                self._width, self._cuts = max(1.0, self._width / 2), self._cuts + 1
            raise
        else:
            self._width = min(self._most, self._width + 1 / self._width)
        finally:
            self._running -= 1
            self._let_in()

    async def _wait(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._let_in()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the turn had come in the same moment
                self._running -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._running < int(self._width):
            place = self._waiting.popleft()
            if not place.cancelled():  # whoever waited there has gone
                self._running += 1
                place.set_result(None)
