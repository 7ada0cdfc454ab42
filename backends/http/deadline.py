"""Limits for answers: a deadline for the whole, and how much of it is taken in at a time.

httpx2's read timeout begins anew with every byte that drips in.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2

from backends.concurrency import Throttle

Hooks = dict[str, list[Callable[..., Awaitable[None]]]]

AT_ONCE = 8
"""Answers of which a piece is taken in during one turn of the event loop."""


class DeadlineStream(httpx2.AsyncByteStream):
    """A body that must have come by `deadline`, a time of the running loop, read at `pace`.

    Raises:
        httpx2.ReadTimeout: it has not.
    """

    def __init__(
        self, body: httpx2.AsyncByteStream, request: httpx2.Request, deadline: float, pace: Throttle
    ) -> None:
        self._body, self._request, self._deadline = body, request, deadline
        self._pace = pace

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's parts as they come."""
        parts = aiter(self._body)
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise httpx2.ReadTimeout("", request=self._request) from error
            yield part
            await self._pace.wait()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._body.aclose()


def deadline_hooks(seconds: float) -> Hooks:
    """Return a client's event hooks that give each answer so long, from the request's start."""
    pace = Throttle(AT_ONCE)

    async def begin(request: httpx2.Request) -> None:
        request.extensions["deadline"] = asyncio.get_running_loop().time() + seconds

    async def limit(response: httpx2.Response) -> None:
        body, request = response.stream, response.request
        if isinstance(body, httpx2.AsyncByteStream):
            response.stream = DeadlineStream(body, request, request.extensions["deadline"], pace)

    return {"request": [begin], "response": [limit]}
