"""Parse server-sent events whose lines have megabytes.

A parser that compares each byte with the end of a line takes 20 ms for a picture; `bytes.find`
takes one. Lines end in LF or CRLF; the format's third ending, a bare CR, is not supported.
"""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field
from typing import Final

from backends.errors import ServiceFault
from backends.images.validation import MAX_BYTES

MAX_LINES: Final = 20_000
"""Lines of a stream: a comment ten times a second for half an hour."""
MAX_EVENT_BYTES: Final = MAX_BYTES * 4 // 3 + 1_000_000
"""Bytes of an event, and of a line: the largest picture in base64, and what describes it."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its name, "" if the server gives none, and its data."""

    name: str
    data: bytes = field(repr=False)


async def server_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[ServerEvent, None]:
    """Yield the events of a response body, without one that the end of the body truncates.

    Raises:
        ServiceFault: there are more than `MAX_LINES` lines, or one of `MAX_EVENT_BYTES`.
    """
    name, data, lines, size = "", list[bytes](), 0, 0
    async for line in _lines(chunks):
        lines, size = lines + 1, size + len(line) if line else 0
        if lines > MAX_LINES or size > MAX_EVENT_BYTES:
            raise _too_long()
        if not line:
            if data:
                yield ServerEvent(name, b"\n".join(data))
            name, data = "", []
        elif line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].decode("utf-8", "replace").strip()


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    pieces: list[bytes] = []
    length = 0
    async for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pieces.append(chunk[start:end])
            yield b"".join(pieces).removesuffix(b"\r")
            pieces.clear()
            start, length = end + 1, 0
        pieces.append(chunk[start:])
        length += len(chunk) - start
        if length > MAX_EVENT_BYTES:
            raise _too_long()


def _too_long() -> ServiceFault:
    return ServiceFault(
        "The service sent a stream that is longer than any of pictures. It may have been billed: "
        "look at your usage page before you try again."
    )
