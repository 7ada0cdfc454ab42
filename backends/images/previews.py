"""Make small JPEGs of pictures, finished or not, off the event loop.

A partial picture is as large as the finished one, and decoding it takes 20 ms. One thread does that
for a whole backend. Where more wait than it can serve in time, the rest are dropped, since a late
preview is worth less than a picture on time.

Pillow is imported inside the function that decodes.
"""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from backends.base import Preview
from backends.errors import ServiceFault
from backends.images.validation import dimensions

SIDE: Final = 384
MAX_WAITING: Final = 8


class Previews:
    """Makes previews in one thread; one instance per backend."""

    def __init__(self) -> None:
        self._thread = _new_thread()
        self._waiting = 0

    async def make(self, find: Callable[[bytes], bytes | None], body: bytes) -> Preview | None:
        """Return a preview of the picture that `find` extracts from `body`.

        None if too many previews are waiting, or the picture is missing or damaged.
        """
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, _preview, find, body)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop waiting previews; a later `make`, perhaps on another loop, starts a new thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._thread = _new_thread()


def thumbnail(data: bytes, side: int) -> bytes:
    """Return a JPEG of `data` whose longer side is at most `side`; slow, call it in a thread.

    Raises:
        ServiceFault: the picture cannot be decoded.
    """
    from PIL import Image

    dimensions(data)  # before Pillow decodes anything
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (side, side))  # a JPEG is decoded at an eighth, quarter or half
            image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=1.0)
            small = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
        if small.mode == "RGBA":
            background = Image.new("RGBA", small.size, "white")
            small = Image.alpha_composite(background, small).convert("RGB")
        out = io.BytesIO()
        small.save(out, "JPEG", quality=80)
    # Pillow raises many types for damaged files, among them SyntaxError and EOFError.
    except Exception as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error
    return out.getvalue()


def _new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="previews")  # starts with its first job


def _preview(find: Callable[[bytes], bytes | None], body: bytes) -> Preview | None:
    try:
        data = find(body)
        return Preview(thumbnail(data, SIDE)) if data else None
    except ServiceFault:  # a damaged preview must not fail the job
        return None
