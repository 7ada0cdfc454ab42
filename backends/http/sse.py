"""Parse server-sent events whose lines have megabytes.

A parser that compares each byte with the end of a line takes 20 ms for a picture; `bytes.find`
takes one. Lines end in LF or CRLF; the format's third ending, a bare CR, is not supported.

Servers send things that are no events under this media type: a plain JSON answer, or a last event
without the blank line that ends it. Both may hold a picture that was paid for, so both are events
here. The reader of the last event has to see by itself whether it is whole.
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
    """One event: its name, "" if the server gives none, and its data.

    `ended` is False for data that the end of the body may have cut off.
    """

    name: str
    data: bytes = field(repr=False)
    ended: bool = True


async def server_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[ServerEvent, None]:
    """Yield the events of a response body; a body of plain JSON is one event.

    Raises:
        ServiceFault: there are more than `MAX_LINES` lines, or one of `MAX_EVENT_BYTES`.
    """
    name, data, lines, size = "", list[bytes](), 0, 0
    is_json = False
    async for line in _lines(chunks):
        is_json = is_json or (not lines and line.lstrip().startswith((b"{", b"[")))
        lines, size = lines + 1, size + len(line) if line or is_json else 0
        if lines > MAX_LINES or size > MAX_EVENT_BYTES:
            raise _too_long()
        if is_json:
            data.append(line)
        elif not line:
            if data:
                yield ServerEvent(name, b"\n".join(data))
            name, data = "", []
        elif line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].decode("utf-8", "replace").strip()
    if data:
        yield ServerEvent(name, b"\n".join(data), ended=False)


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
    if rest := b"".join(pieces):
        yield rest.removesuffix(b"\r")


def _too_long() -> ServiceFault:
    return ServiceFault(
        "The service sent a stream that is longer than any of pictures. It may have been billed: "
        "look at your usage page before you try again."
    )
