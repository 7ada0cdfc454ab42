"""Several calls of one job at the same time; each result is handed on as it comes.

Pace: what could all go on at the same moment goes on a little at a time.

Making a request takes the event loop some milliseconds, taking in a piece of an answer a part of
one. Two hundred at once would hold up everything else for most of a second; a few in each turn of
the loop hold up nobody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, TypeVar

from backends.errors import BackendError

Result = TypeVar("Result")


async def as_completed(
    calls: Iterable[Coroutine[Any, Any, Result]],
) -> AsyncGenerator[Result | BackendError, None]:
    """Start all calls; yield what each returns, or the error that it ends in.

    A picture that is there is paid for: it waits for no other, and the failure of another does not
    lose it. Closing this ends the calls that are still under way.
    """
    tasks = [asyncio.create_task(_outcome(call)) for call in calls]
    try:
        for next_one in asyncio.as_completed(tasks):
            yield await next_one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(call: Coroutine[Any, Any, Result]) -> Result | BackendError:
    try:
        return await call
    except BackendError as error:
        return error


class Throttle:
    """Lets so many pass in each turn of the event loop, first come first served."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return at once while few pass, else when it is one's turn."""
        loop = asyncio.get_running_loop()
        if self._passed == 0:
            loop.call_soon(self._next)
        if self._passed < self._most:
            self._passed += 1
            return
        place = loop.create_future()
        self._waiting.append(place)
        await place

    def _next(self) -> None:
        """A turn is over: those who waited longest pass in the next one."""
        self._passed = 0
        while self._waiting and self._passed < self._most:
            place = self._waiting.popleft()
            if not place.cancelled():  # whoever waited there has gone
                place.set_result(None)
                self._passed += 1
        if self._passed:
            asyncio.get_running_loop().call_soon(self._next)
