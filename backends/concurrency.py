"""Run calls concurrently, and spread work over iterations of the event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, TypeVar

from backends.errors import BackendError

Result = TypeVar("Result")


async def as_completed(
    calls: Iterable[Coroutine[Any, Any, Result]],
) -> AsyncGenerator[Result | BackendError, None]:
    """Start all calls; yield the result of each, or the error that it raised, as it completes.

    A finished picture is paid for: it does not wait for the others, and the failure of another call
    does not lose it. Closing the generator cancels the calls that are still running.
    """
    tasks = [asyncio.create_task(_outcome(call)) for call in calls]
    try:
        for completed in asyncio.as_completed(tasks):
            yield await completed
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
    """Admits at most `limit` callers per iteration of the event loop, first come first served.

    Building a request takes the event loop some milliseconds, processing a chunk of a response a
    fraction of one. Two hundred at once would block everything else for most of a second; a few per
    iteration block nothing.
    """

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit
        self._admitted = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return at once below the limit, else in a later iteration."""
        loop = asyncio.get_running_loop()
        if self._admitted == 0:
            loop.call_soon(self._next_iteration)
        if self._admitted < self._limit:
            self._admitted += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_iteration(self) -> None:
        """Admit the callers that have waited longest."""
        self._admitted = 0
        while self._waiting and self._admitted < self._limit:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                self._admitted += 1
        if self._admitted:
            asyncio.get_running_loop().call_soon(self._next_iteration)
