"""Server-sent events are read alike, however the bytes were cut."""

from collections.abc import AsyncIterator

import pytest

from backends.http.sse import ServerEvent, server_events

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
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
async def test_events_however_cut(size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), size):
            yield BODY[start : start + size]
        yield b""

    assert [event async for event in server_events(chunks())] == READ
