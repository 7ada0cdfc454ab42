"""Server-sent events are read alike, however the bytes were cut."""

from collections.abc import AsyncIterator

import pytest

from backends.errors import ServiceFault
from backends.http.sse import MAX_EVENT_BYTES, ServerEvent, server_events

BODY = (
    b": a comment\n\n"
    b"event: first\ndata: one\n\n"
    b"event: lines\r\ndata: two\r\ndata:three\r\nid: 7\r\n\r\n"
    b"data:  four\n\n"
    b"event: without data\n\n"
    b"event: last\ndata: " + b"x" * 5000 + b"\n\n"
    b"event: cut\ndata: never ended"
)
READ = [
    ServerEvent("first", b"one"),
    ServerEvent("lines", b"two\nthree"),
    ServerEvent("", b" four"),
    ServerEvent("last", b"x" * 5000),
    ServerEvent("cut", b"never ended", ended=False),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
async def test_events_however_cut(size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), size):
            yield BODY[start : start + size]
        yield b""

    assert [event async for event in server_events(chunks())] == READ


@pytest.mark.parametrize(
    "chunk", [b": alive\n", b"\n", b"data: x\n\n", b"a" * 262_144, b"data: " + b"a" * 65_530]
)
async def test_a_stream_has_an_end(chunk: bytes) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += len(chunk)
            yield chunk

    with pytest.raises(ServiceFault, match="longer"):
        async for _ in server_events(chunks()):
            pass
    assert read <= MAX_EVENT_BYTES + 2 * len(chunk)


async def test_the_lines_of_an_event_have_a_limit_together() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"data: " + b"a" * 1_000_000 + b"\n"

    with pytest.raises(ServiceFault, match="longer"):
        async for _ in server_events(chunks()):
            raise AssertionError
