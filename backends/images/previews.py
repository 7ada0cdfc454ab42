"""Small looks at unfinished pictures, made beside the event loop.

A partial picture is as large as the finished one, and unpacking it takes 20 ms. One thread does
that for a whole backend; where more wait than it can serve in time, the rest are left out, since
a preview that comes late is worth less than a picture that comes on time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from backends.base import Preview
from backends.errors import ServiceFault
from backends.images.validation import thumbnail

SIDE = 384
MOST_WAITING = 8


class Previews:
    """Makes previews; lives as long as its backend."""

    def __init__(self) -> None:
        self._thread = _thread()
        self._waiting = 0

    async def make(self, find: Callable[[bytes], bytes | None], body: bytes) -> Preview | None:
        """Return a preview of the picture that `find` gets out of `body`.

        None where there is no time for it, or it cannot be shown.
        """
        if self._waiting >= MOST_WAITING:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, _preview, find, body)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop what waits; whoever asks again, on another loop perhaps, gets a new thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._thread = _thread()


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="previews")  # starts with its first work


def _preview(find: Callable[[bytes], bytes | None], body: bytes) -> Preview | None:
    try:
        data = find(body)
        return Preview(thumbnail(data, SIDE)) if data else None
    except ServiceFault:  # a broken look costs nobody the picture
        return None
