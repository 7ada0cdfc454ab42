"""A TCP relay in front of a server: a connection that can be cut, and comes back."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Any, Self
from urllib.parse import urlsplit


class Way(Enum):
    """How a connection is lost."""

    REFUSED = auto()
    """Nothing listens any more: open connections are reset, new ones are refused."""
    RESET = auto()
    """A tunnel without its other end: new connections are taken, and ended before an answer."""
    SILENT = auto()
    """Packets vanish: connections stay open, and nothing passes."""


class Relay:
    """Relays TCP connections to `target`, an origin like http://127.0.0.1:8188."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._lost: Way | None = None
        self._passes = asyncio.Event()
        self.port = 0
        self.connections = 0

    @property
    def origin(self) -> str:
        """The relay's own address."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self, way: Way, seconds: float | None = None) -> None:
        """Lose the connection for so many seconds, or for good."""
        self._call(self._cut(way))
        if seconds is not None:
            self._loop.call_soon_threadsafe(
                self._loop.call_later, seconds, lambda: self._loop.create_task(self._restore())
            )

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._restore())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _restore(self) -> None:
        self._lost = None
        self._passes.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _cut(self, way: Way) -> None:
        self._lost = way
        self._passes.clear()
        if way is Way.REFUSED and self._listener is not None:
            self._listener.close()
            self._listener = None
        if way is not Way.SILENT:
            self._reset_all()

    async def _close(self) -> None:
        await self._cut(Way.REFUSED)
        self._passes.set()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reset_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._lost is Way.RESET:
            writer.transport.abort()
            return
        host, port = self._target.hostname, self._target.port
        # asyncio logs a handler that is cancelled, as it is where the relay ends.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            back_reader, back_writer = await asyncio.open_connection(host, port)
            self._writers |= {writer, back_writer}
            try:
                await asyncio.gather(
                    self._pass_on(reader, back_writer), self._pass_on(back_reader, writer)
                )
            finally:
                self._writers -= {writer, back_writer}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
