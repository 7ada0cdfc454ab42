"""Honest visitors beside a hostile one, on the app as started at a public address.

Forty visitors press Compare and wait for the first event of their miniature, once alone and once
beside a visitor who sends the largest bodies that are taken, has the longest queue that is allowed,
and opens streams that are never read. The second figure is the app's memory afterwards.
"""

import asyncio
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2

from backends.paths import PROJECT
from tests.bench.bench_screen import answering, stopped
from tests.bench.bench_visitors import LineupVisitor, config, event_of
from tests.bench.report import Line, show

PORT = 7976
VISITORS = 40
MODELS = ["miniature/diffusion"]
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None)


class MiniatureVisitor(LineupVisitor):
    """A visitor who wants one miniature, and whose browser keeps the cookie."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._data = [MODELS if value == _first(port) else value for value in self._data]

    async def first_event(self, prompt: str) -> float:
        """Open the page, press Compare, and return the seconds until the run's first event."""
        async with httpx2.AsyncClient(limits=LIMITS, timeout=300, trust_env=False) as client:
            session = await self.arrive(client)
            began = time.monotonic()
            run = await self.start(client, session, [prompt, *self._data[1:]])
            async with client.stream("GET", f"{self._root}/lineup/runs/{run}/events") as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        return time.monotonic() - began
        raise AssertionError("the stream ended without an event")

    async def start(self, client: httpx2.AsyncClient, session: str, data: list[Any]) -> str:
        """Press Compare and return the id of the run."""
        answer = await self._call(client, self._event, data, session)
        run = re.search(r'data-run=\\?"(\w+)', answer)
        if run is None:
            raise AssertionError(answer[:500])
        return run[1]


def _first(port: int) -> object:
    """Return the models that are chosen on a fresh page."""
    _, data = event_of(config(port), "Compare", "click")
    return next(value for value in data if isinstance(value, list) and value)


class Hostile:
    """The hostile visitor; each method goes on until it is cancelled."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._root = f"http://127.0.0.1:{port}"
        self._visitor = MiniatureVisitor(port)
        page = config(port)
        self._event, self._data = event_of(page, "Compare", "click")

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Do everything at once while the caller does something else."""
        async with httpx2.AsyncClient(limits=LIMITS, timeout=300, trust_env=False) as client:
            work = [self._queue(client), *(self._bodies(client) for _ in range(4))]
            work += [self._uploads(client), *(self._unread() for _ in range(50))]
            tasks = [asyncio.create_task(each) for each in work]
            await asyncio.sleep(2)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _queue(self, client: httpx2.AsyncClient) -> None:
        """Keep as many jobs waiting as are allowed, each as long as is allowed."""
        session = await self._visitor.arrive(client)
        while True:
            data = ["a {red|blue|green|white} {star|ring}", *self._data[1:]]
            with contextlib.suppress(AssertionError, httpx2.HTTPError):
                await self._visitor.start(client, session, data)
            await asyncio.sleep(0.05)

    async def _bodies(self, client: httpx2.AsyncClient) -> None:
        """Send the longest texts."""
        texts = ["\N{GRINNING FACE}" * 39_000 if isinstance(v, str) else v for v in self._data]
        asked = {"data": texts[:6] + self._data[6:], "fn_index": self._event, "session_hash": "h"}
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                await client.post(f"{self._root}/gradio_api/run/predict", json=asked)

    async def _uploads(self, client: httpx2.AsyncClient) -> None:
        """Upload the largest files."""
        data = os.urandom(1_000_000) * 49
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                files = {"files": ("a.png", data, "image/png")}
                await client.post(f"{self._root}/gradio_api/upload", files=files)

    async def _unread(self) -> None:
        """Open a stream and read nothing."""
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", self._port))
            request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
            await loop.sock_sendall(connection, request.encode())
            await asyncio.sleep(3600)


async def crowd(port: int) -> float:
    """Return the median of the seconds until the first event."""
    visitor = MiniatureVisitor(port)
    waits = await asyncio.gather(*(visitor.first_event(f"star {n}") for n in range(VISITORS)))
    return statistics.median(waits)


async def beside_hostile(port: int) -> float:
    """Return what `crowd` returns, with the hostile visitor at work."""
    async with Hostile(port).at_work():
        return await crowd(port)


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


def main() -> list[Line]:
    """Measure and return the lines for the report."""
    with tempfile.TemporaryDirectory() as home:
        places = {"LINEUP_HOME": home, "GRADIO_TEMP_DIR": f"{home}/uploads"}
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(PORT)],
            cwd=PROJECT,
            env={**os.environ, **places, "LINEUP_HOSTS": "lineup.example"},
            stdout=subprocess.DEVNULL,
        )
        with stopped(process):
            answering(PORT)
            asyncio.run(crowd(PORT))  # loads the model
            asyncio.run(crowd(PORT))
            alone = asyncio.run(crowd(PORT))
            before = resident(process.pid)
            beside = asyncio.run(beside_hostile(PORT))
            time.sleep(10)
            after = resident(process.pid)
    return [
        Line(
            f"{VISITORS} visitors beside a hostile one ÷ alone",
            beside / alone,
            2.0,
            f"first event: {1000 * beside:.0f} ms ÷ {1000 * alone:.0f} ms",
        ),
        Line("memory after ÷ before", after / before, 1.1, f"{after:.0f} MB ÷ {before:.0f} MB"),
    ]


if __name__ == "__main__":
    show(main())
