"""Websocket of a ComfyUI server: its messages and previews during a job, with reconnection.

The websocket serves only to follow a job: steps and unfinished pictures arrive as they are made.
Where it breaks, or never opens because a proxy in between supports no websockets, the job goes on
and its state is polled instead.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from backends.http.client import Timeouts
from backends.http.self_hosted import LARGE_JSON, SelfHostedServer
from backends.json_values import loads

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

LOOPBACK = ("localhost", "127.0.0.1", "::1")
RECONNECT_SECONDS = 0.5
"""Seconds between two attempts to open the websocket."""
CLOSE_SECONDS = 1.0
"""Limit for the server's part of the closing handshake, in seconds."""
MAX_FRAME_BYTES = 64_000_000
"""Bytes of a frame: a finished picture as PNG, of up to 40 megapixels even if it hardly shrinks."""
MAX_QUEUED_FRAMES = 8
"""Frames that may be queued while a picture is fetched or saved, before the server has to wait.

The operating system queues some megabytes more, which is a hundred previews.
"""
PREVIEW, NAMED_PREVIEW = 1, 4
"""Types of binary frames that carry an image."""


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON message: its type and its data."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """The encoded bytes of an image, a preview or a finished picture."""

    data: bytes = field(repr=False)


Frame: TypeAlias = Message | Image


class WebSocket:
    """The websocket of one job, which the server knows by its `client_id`.

    `was_disconnected` is True once the connection was lost or could not be opened: messages may
    have been missed. `openings` counts how often it was opened.
    """

    def __init__(self, server: SelfHostedServer, client_id: str, timeouts: Timeouts) -> None:
        self._server = server
        self._client_id = client_id
        self._timeouts = timeouts
        self._connection: ClientConnection | None = None
        self.was_disconnected = False
        self.openings = 0

    async def open(self) -> bool:
        """Open the connection; return False if that is impossible, or impossible for now."""
        from websockets.asyncio.client import connect as base
        from websockets.exceptions import WebSocketException

        class connect(base):
            def process_redirect(self, exc: Exception) -> Exception:
                return exc  # a redirect would lead to any address that the server names

        log = logging.getLogger(__name__)
        log.setLevel(logging.INFO)  # its debug messages contain the headers
        url = f"ws{self._server.url.removeprefix('http')}/ws?clientId={self._client_id}"
        local = urlsplit(self._server.url).hostname in LOOPBACK
        try:
            self._connection = await connect(
                url,
                additional_headers=self._server.headers,
                compression=None,  # images are compressed already
                proxy=None if local else True,
                open_timeout=self._timeouts.connect,
                close_timeout=CLOSE_SECONDS,
                # The server may not answer pings for minutes while it loads a model.
                ping_timeout=None,
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_QUEUED_FRAMES,
                logger=log,
            )
        except (WebSocketException, OSError, TimeoutError, ImportError, ValueError):
            self.was_disconnected = True
            return False
        self.openings += 1
        return True

    async def receive(self, seconds: float) -> Frame | None:
        """Return the next frame, None if no usable one arrives within `seconds`.

        A closed connection is opened again.
        """
        from websockets.exceptions import ConnectionClosed

        if self._connection is None and not await self.open():
            await asyncio.sleep(RECONNECT_SECONDS)
        if self._connection is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                raw = await self._connection.recv()
        except TimeoutError:
            return None
        except ConnectionClosed:
            self._connection, self.was_disconnected = None, True
            await asyncio.sleep(RECONNECT_SECONDS)
            return None
        if isinstance(raw, str) and len(raw) > LARGE_JSON:
            return await asyncio.to_thread(parse_frame, raw)
        return parse_frame(raw)

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def parse_frame(raw: str | bytes) -> Frame | None:
    """Parse a frame, None for one of an unknown kind."""
    if isinstance(raw, bytes):
        kind, rest = int.from_bytes(raw[:4]), raw[4:]
        if kind == PREVIEW:  # 4 bytes of image format, then the image
            return Image(rest[4:])
        if kind == NAMED_PREVIEW:  # the length of a JSON object, that object, the image
            return Image(rest[4 + int.from_bytes(rest[:4]) :])
        return None
    try:
        message: object = loads(raw)
    except ValueError:
        return None
    match message:
        case {"type": str(kind), "data": dict() as data}:
            return Message(kind, cast(dict[str, Any], data))
        case _:
            return None
