"""A server between a backend and its fake service, that attacks the client with chosen answers.

Requests for which `when` holds get the attack, all others are passed on. Attacks without an end go
on until the client has left; `sent` counts what they could send.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import httpx2

from tests.servers.exchange import Received, Reply
from tests.servers.http import Server

PIECE: Final = 65_536
JSON: Final = "application/json"


class Hostile(Server):
    """Passes requests on to `behind`, and answers the others with `attack`."""

    def __init__(
        self, behind: str, when: Callable[[Received], bool], attack: "Attack | None" = None
    ) -> None:
        super().__init__()
        self.attack = attack
        self.sent = 0
        self._behind = behind
        self._when = when
        self._client = httpx2.AsyncClient(timeout=30)

    async def handle(self, received: Received, reply: Reply) -> None:
        """Attack, or pass the request on."""
        if self.attack is not None and self._when(received):
            await self.attack(_Counting(reply, self))
            return
        dropped = ("host", "content-length", "accept-encoding")
        answer = await self._client.request(
            received.method,
            f"{self._behind}{received.path}",
            headers={name: text for name, text in received.headers.items() if name not in dropped},
            content=received.body,
        )
        await reply.send(
            answer.content.replace(self._behind.encode(), self.origin.encode()),
            status=answer.status_code,
            media_type=answer.headers.get("content-type", JSON),
        )


class _Counting(Reply):
    def __init__(self, reply: Reply, server: Hostile) -> None:
        super().__init__(reply._writer)
        self._server = server

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._server.sent += len(data)


Attack: TypeAlias = Callable[[Reply], Awaitable[None]]


def endless(piece: bytes, *, status: int = 200, media_type: str = JSON) -> Attack:
    """Return an answer that never ends."""

    async def attack(reply: Reply) -> None:
        await reply.start(status=status, media_type=media_type)
        while True:
            await reply.write(piece * (PIECE // len(piece)))

    return attack


def dripping(*, status: int = 200, media_type: str = JSON, piece: bytes = b" ") -> Attack:
    """Return an answer of which a byte comes now and then, for ever."""

    async def attack(reply: Reply) -> None:
        await reply.start(status=status, media_type=media_type)
        while True:
            await reply.write(piece)
            await asyncio.sleep(0.05)

    return attack


async def dripping_head(reply: Reply) -> None:
    """Send one header after the other, for ever."""
    await reply.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await reply.write(b"X: y\r\n")
        await asyncio.sleep(0.05)


def compressed(size: int = 100_000_000, status: int = 200) -> Attack:
    """Return an answer that decompresses to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000))
    return answering(bomb + packer.flush(), status=status, headers={"Content-Encoding": "gzip"})


def answering(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Attack:
    """Return a complete answer."""

    async def attack(reply: Reply) -> None:
        await reply.send(body, status=status, headers=headers)

    return attack


def redirecting(address: str) -> Attack:
    """Return a redirect."""
    return answering(b"", status=302, headers={"Location": address})


ATTACKS: Mapping[str, Attack] = {
    "endless body": endless(b"[1,"),
    "endless error": endless(b"no, ", status=403),
    "endless line": endless(b"data: AAAAAAAAAA", media_type="text/event-stream"),
    "endless comments": endless(b": alive\n\n", media_type="text/event-stream"),
    "gzip bomb": compressed(),
    "gzip bomb in an error": compressed(status=403),
    "dripping body": dripping(),
    "dripping error": dripping(status=403),
    "dripping comments": dripping(media_type="text/event-stream", piece=b": alive\n\n"),
    "dripping head": dripping_head,
    "deep JSON": answering(b"[" * 200_000 + b"]" * 200_000),
    "deep object": answering(b'{"data":' * 100_000 + b"1" + b"}" * 100_000),
    "many values": answering(b'{"data":[' + b"{}," * 2_000_000 + b"{}]}"),
}
STREAMS = frozenset({"endless line", "endless comments", "dripping comments"})
"""The attacks on readers of event streams."""
