"""What a ComfyUI server says while it draws, over a websocket that may come and go.

The socket is for watching: it shows steps and unfinished pictures as they come. Where it breaks,
or never opens because something between here and there knows no websockets, the job goes on and
is looked up instead.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from backends.http.client import Timeouts
from backends.http.self_hosted import SelfHostedServer
from backends.images.validation import MOST_BYTES

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

LOOPBACK = ("localhost", "127.0.0.1", "::1")
RECONNECT_SECONDS = 0.5
"""Seconds between two tries to open the socket."""
CLOSE_SECONDS = 1.0
"""Seconds that the server may take to say goodbye."""
MAX_QUEUED_FRAMES = 256
"""Frames that may wait while a picture is fetched or kept, before the server must wait too."""
PREVIEW, NAMED_PREVIEW = 1, 4


@dataclass(frozen=True, slots=True)
class Message:
    """Something that has happened."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, finished or not."""

    data: bytes = field(repr=False)


Frame: TypeAlias = Message | Image


class WebSocket:
    """The socket of one job, which the server knows as `client`.

    `broken` says whether something may have been said that nobody heard.
    """

    def __init__(self, server: SelfHostedServer, client: str, patience: Timeouts) -> None:
        self._server = server
        self._client_id = client
        self._timeouts = patience
        self._connection: ClientConnection | None = None
        self.was_disconnected = False

    async def open(self) -> bool:
        """Open the socket; False where that is not possible, or not now."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        log = logging.getLogger(__name__)
        log.setLevel(logging.INFO)  # its debug messages would tell the headers
        url = f"ws{self._server.url.removeprefix('http')}/ws?clientId={self._client_id}"
        local = urlsplit(self._server.url).hostname in LOOPBACK
        try:
            self._connection = await connect(
                url,
                additional_headers=self._server.headers,
                compression=None,  # pictures do not get smaller
                proxy=None if local else True,
                open_timeout=self._timeouts.connect,
                close_timeout=CLOSE_SECONDS,
                # Loading a model may keep the server from answering for minutes.
                ping_timeout=None,
                max_size=MOST_BYTES,
                max_queue=MAX_QUEUED_FRAMES,
                logger=log,
            )
        except (WebSocketException, OSError, TimeoutError, ImportError, ValueError):
            self.was_disconnected = True
            return False
        return True

    async def receive(self, seconds: float) -> Frame | None:
        """Return what the server says next, None where nothing of use comes in time.

        A socket that was closed is opened again.
        """
        from websockets.exceptions import ConnectionClosed

        if self._connection is None and not await self.open():
            await asyncio.sleep(RECONNECT_SECONDS)
        if self._connection is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                return parse_frame(await self._connection.recv())
        except TimeoutError:
            return None
        except ConnectionClosed:
            self._connection, self.was_disconnected = None, True
            await asyncio.sleep(RECONNECT_SECONDS)
            return None

    async def aclose(self) -> None:
        """Say goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def parse_frame(raw: str | bytes) -> Frame | None:
    """Return what a frame says, None for one that says nothing to us."""
    if isinstance(raw, bytes):
        kind, rest = int.from_bytes(raw[:4]), raw[4:]
        if kind == PREVIEW:  # its format, then the picture
            return Image(rest[4:])
        if kind == NAMED_PREVIEW:  # the length of a JSON object, that object, the picture
            return Image(rest[4 + int.from_bytes(rest[:4]) :])
        return None
    try:
        said: object = json.loads(raw)
    except ValueError:
        return None
    match said:
        case {"type": str(kind), "data": dict() as data}:
            return Message(kind, cast(dict[str, Any], data))
        case _:
            return None
