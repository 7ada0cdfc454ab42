"""Limits for reading responses: a deadline for the whole body, and how much is read at a time.

httpx2's read timeout starts anew with every byte, so a body that drips never times out. This module
imports httpx2 at its top and is imported late itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import httpcore2
import httpx2

from backends.concurrency import Throttle

Hooks = dict[str, list[Callable[..., Awaitable[None]]]]

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a response that are read at a time: with 64 KB it takes the event loop twice as long."""

# httpcore2 has no argument for it. Set for the whole process, when httpx2 is first imported.
httpcore2.AsyncHTTP11Connection.READ_NUM_BYTES = CHUNK_BYTES  # pyright: ignore[reportAttributeAccessIssue]

MAX_CHUNKS_PER_ITERATION: Final = 8
"""Chunks of all responses that are processed in one iteration of the event loop."""


class DeadlineStream(httpx2.AsyncByteStream):
    """A response body that must be complete by `deadline`, a time of the running loop.

    `throttle` limits how many chunks are processed in one iteration of the event loop.

    Raises:
        httpx2.ReadTimeout: the body was not complete in time.
    """

    def __init__(
        self,
        body: httpx2.AsyncByteStream,
        request: httpx2.Request,
        deadline: float,
        throttle: Throttle,
    ) -> None:
        self._body, self._request, self._deadline = body, request, deadline
        self._throttle = throttle

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body as they arrive."""
        chunks = aiter(self._body)
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise httpx2.ReadTimeout("", request=self._request) from error
            yield chunk
            await self._throttle.wait()

    async def aclose(self) -> None:
        """Release the connection."""
        await self._body.aclose()


def deadline_hooks(seconds: float) -> Hooks:
    """Return a client's event hooks that limit each response to `seconds` from its request."""
    throttle = Throttle(MAX_CHUNKS_PER_ITERATION)

    async def begin(request: httpx2.Request) -> None:
        request.extensions["deadline"] = asyncio.get_running_loop().time() + seconds

    async def limit(response: httpx2.Response) -> None:
        body, request = response.stream, response.request
        if isinstance(body, httpx2.AsyncByteStream):
            deadline = request.extensions["deadline"]
            response.stream = DeadlineStream(body, request, deadline, throttle)

    return {"request": [begin], "response": [limit]}
