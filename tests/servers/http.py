"""A small HTTP/1.1 server on asyncio, in its own thread, that records every request.

Tests connect through real sockets, so cut connections, slow bodies and disconnecting clients are
real. A fake of an API subclasses `Server` and responds in `handle`.
"""

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Self

from tests.servers.exchange import Cut, Received, Reply


class Server:
    """Listens on the loopback interface, in a thread; use it as a context manager."""

    def __init__(self, *, port: int = 0, log: Path | None = None) -> None:
        self.port = port
        self.requests: list[Received] = []
        self._log = log
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def wait_until(self, ended: str, *, number: int = -1, seconds: float = 20.0) -> bool:
        """Wait until the request has `ended` in that way; return False if it does not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.requests[number:] and self.requests[number].ended == ended:
                return True
            time.sleep(0.01)
        return False

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._handle_connection, "127.0.0.1", self.port, backlog=512, limit=1 << 20
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        unfinished = True
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while received := await self._read_request(reader):
                received.ended = await self._serve_one(received, reader, writer)
                self._write_log(received)
                if received.ended != "answered":
                    break
            else:
                unfinished = False
        if unfinished:
            writer.transport.abort()
        else:
            writer.close()

    async def _serve_one(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        answer = asyncio.ensure_future(self.handle(received, Reply(writer)))
        try:
            # A client that goes away while an answer is being made is a fact worth keeping.
            while not answer.done():
                await asyncio.wait({answer}, timeout=0.05)
                if not answer.done() and (reader.at_eof() or reader.exception()):
                    return "client left"
            match answer.exception():
                case None:
                    return "answered"
                case Cut():
                    await asyncio.sleep(0.05)  # what was written reaches the client first
                    return "cut"
                case OSError():
                    return "client left"
                case error:
                    return f"fault: {error!r}"
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def _read_request(self, reader: asyncio.StreamReader) -> Received | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        received = Received(
            number=len(self.requests) + 1, method=method, path=path, headers=headers, body=body
        )
        self.requests.append(received)
        self._write_log(received)
        return received

    def _write_log(self, received: Received) -> None:
        if self._log is None:
            return
        line = {
            "number": received.number,
            "at": received.at,
            "method": received.method,
            "path": received.path,
            "body": received.json,
            "ended": received.ended,
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
