"""Limits for every answer over HTTP: its bytes, the time until it is complete, its encoding.

All hosted backends, and the SDKs that they use, send through `LimitedClient`, so that no way of
reading an answer is without limits. This module imports httpx2 at its top and is imported late.
"""

import asyncio
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpcore2
import httpx2

from backends.concurrency import Throttle

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a response that are read at a time: with 64 KB it takes the event loop twice as long."""

# httpcore2 has no argument for it. Set for the whole process, when httpx2 is first imported.
httpcore2.AsyncHTTP11Connection.READ_NUM_BYTES = CHUNK_BYTES  # pyright: ignore[reportAttributeAccessIssue]

MAX_CHUNKS_PER_ITERATION: Final = 8
"""Chunks of all responses that are processed in one iteration of the event loop."""

MAX_QUERY_BYTES: Final = 32_000_000
"""Bytes of the answer to a GET: lists of models, the state of a queue with its workflows.

A picture is downloaded with a limit of its own, the extension "max_bytes".
"""

MAX_ERROR_BYTES: Final = 262_144
ERROR_SECONDS: Final = 10.0
"""Bytes and seconds for the body of an error or a redirect. The rest is not read: the status tells
what happened, the body only why."""


class AnswerRefused(httpx2.RequestError):
    """An answer exceeds a limit; `str(error)` ends the sentence that begins "It sent"."""


class _LimitedStream(httpx2.AsyncByteStream):
    """A response body of at most `max_bytes`, complete by `deadline`, a time of the running loop.

    `is_error` ends the body at a limit instead of raising. `throttle` limits how many chunks are
    processed in one iteration of the event loop.

    Raises:
        httpx2.ReadTimeout: the body was not complete in time.
        AnswerRefused: the body is larger.
    """

    def __init__(
        self,
        body: httpx2.AsyncByteStream,
        request: httpx2.Request,
        *,
        max_bytes: int,
        deadline: float,
        is_error: bool,
        throttle: Throttle,
    ) -> None:
        self._body, self._request = body, request
        self._max_bytes, self._deadline = max_bytes, deadline
        self._is_error, self._throttle = is_error, throttle

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body as they arrive."""
        chunks, left = aiter(self._body), self._max_bytes
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if self._is_error:
                    return
                raise httpx2.ReadTimeout("", request=self._request) from error
            left -= len(chunk)
            if left < 0 and self._is_error:
                return
            if left < 0:
                raise AnswerRefused(
                    f"an answer of more than {self._max_bytes / 1e6:,.1f} MB", request=self._request
                )
            yield chunk
            await self._throttle.wait()

    async def aclose(self) -> None:
        """Release the connection."""
        await self._body.aclose()


class LimitedClient(httpx2.AsyncClient):
    """A client whose every answer is limited.

    An answer is complete within the `read` timeout of its request, counted from its start and over
    all redirects, or it fails; httpx2 by itself would start anew with every byte. `max_bytes` is
    the size of an answer to a POST, which may carry several pictures. Redirects lead nowhere but to
    the same origin, and no cookies are kept.

    Answers are asked for without compression: pictures gain nothing by it, decoding would block
    the event loop, and a megabyte can decode to a gigabyte. One that is compressed all the same is
    refused before any of it is decoded.
    """

    def __init__(self, *, max_bytes: int, **arguments: Any) -> None:
        super().__init__(
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            event_hooks={"request": [self._begin], "response": [self._limit]},
            **arguments,
        )
        self._max_bytes = max_bytes
        self._throttle = Throttle(MAX_CHUNKS_PER_ITERATION)

    async def send(self, request: httpx2.Request, **arguments: Any) -> httpx2.Response:
        """Send a request; raises `httpx2.ReadTimeout` if its time runs out."""
        timeouts = request.extensions.get("timeout", {})
        seconds = timeouts.get("read") or self.timeout.read
        if seconds is None:
            return await super().send(request, **arguments)
        request.extensions["deadline"] = asyncio.get_running_loop().time() + seconds
        # Time to connect does not count: a request that was not sent is no unfinished answer.
        connecting = timeouts.get("connect") or self.timeout.connect or 0.0
        try:
            async with asyncio.timeout(seconds + connecting):
                return await super().send(request, **arguments)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("", request=request) from error

    async def _begin(self, request: httpx2.Request) -> None:
        request.headers["Accept-Encoding"] = "identity"
        if request.extensions.setdefault("origin", origin(request.url)) != origin(request.url):
            raise AnswerRefused("a redirect to another server", request=request)

    async def _limit(self, response: httpx2.Response) -> None:
        body, request = response.stream, response.request
        is_error = response.status_code >= 300
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        max_bytes = MAX_ERROR_BYTES if is_error else self._max_bytes_of(request)
        if encoding not in ("", "identity"):
            if not is_error:
                raise AnswerRefused("an answer that is compressed", request=request)
            max_bytes = 0
        if not isinstance(body, httpx2.AsyncByteStream):
            return
        deadline: float = request.extensions.get("deadline", float("inf"))
        if is_error:
            deadline = min(deadline, asyncio.get_running_loop().time() + ERROR_SECONDS)
        response.stream = _LimitedStream(
            body,
            request,
            max_bytes=max_bytes,
            deadline=deadline,
            is_error=is_error,
            throttle=self._throttle,
        )

    def _max_bytes_of(self, request: httpx2.Request) -> int:
        usual = self._max_bytes
        if request.method == "GET":
            usual = min(usual, MAX_QUERY_BYTES)
        return min(self._max_bytes, request.extensions.get("max_bytes", usual))


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL, the scheme's own port as None."""
    return url.scheme, url.host, url.port
