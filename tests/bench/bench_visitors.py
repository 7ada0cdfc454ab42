"""Many visitors at once: 200 press Compare and wait for a picture that takes 1.0 s.

Ours against the same thing on Gradio's defaults: a button, an async function that sleeps and
returns a file, `gr.Image`. The figure is the 95th percentile of the time beyond that second.
"""

import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from tests.bench.bench_screen import answering, lineup, stopped
from tests.bench.report import Line, show

VISITORS = 200
WAIT = 1.0
DEFAULTS = """
import asyncio, sys
import gradio as gr
async def draw(prompt):
    await asyncio.sleep({wait})
    return {picture!r}
with gr.Blocks() as page:
    prompt = gr.Textbox("a red star")
    image = gr.Image()
    gr.Button("Go").click(draw, prompt, image, concurrency_limit=None)
page.launch(server_port=7975, quiet=True, allowed_paths=["/"])
"""


@contextmanager
def defaults(picture: Path) -> Generator[int, None, None]:
    """Serve the Gradio app with nothing tuned."""
    code = DEFAULTS.format(wait=WAIT, picture=str(picture))
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    with stopped(process):
        answering(7975)
        yield 7975


def config(port: int) -> dict[str, Any]:
    """Return Gradio's description of the page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/config") as answer:
        return json.load(answer)


def event_of(page: dict[str, Any], target: str, event: str) -> tuple[int, list[Any]]:
    """Return the index of an event and the untouched values of its inputs.

    `target` is what its button says; an empty one means the page's own events.
    """
    components = {part["id"]: part["props"] for part in page["components"]}
    buttons = [id for id, props in components.items() if target and props.get("value") == target]

    def wanted(dependency: dict[str, Any]) -> bool:
        on = [id for id, name in dependency["targets"] if name == event]
        mine = set(on) & set(buttons) if target else on and not dependency["inputs"]
        return bool(mine and dependency["backend_fn"])

    found = next(filter(wanted, page["dependencies"]))
    return found["id"], [components[id].get("value") for id in found["inputs"]]


class GradioVisitor:
    """What a browser does on the default app: join the queue, follow it."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/gradio_api"
        self._event, self._data = event_of(config(port), "Go", "click")
        self._root = f"http://127.0.0.1:{port}"

    async def arrive(self, client: httpx2.AsyncClient) -> str:
        """Open the page."""
        (await client.get(self._root)).raise_for_status()
        return uuid.uuid4().hex

    async def press(self, client: httpx2.AsyncClient, session: str) -> None:
        """Press the button and wait for the picture."""
        asked = {"data": self._data, "fn_index": self._event, "session_hash": session}
        (await client.post(f"{self._base}/queue/join", json=asked)).raise_for_status()
        follow = f"{self._base}/queue/data?session_hash={session}"
        async with client.stream("GET", follow) as stream:
            async for line in stream.aiter_lines():
                if "process_completed" in line:
                    if '"success":true' not in line.replace(" ", ""):
                        raise AssertionError(line)
                    return


class LineupVisitor:
    """What a browser does on ours: one request that starts the run, one stream to follow."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        page = config(port)
        self._load, _ = event_of(page, "", "load")
        self._event, self._data = event_of(page, "Compare", "click")

    async def arrive(self, client: httpx2.AsyncClient) -> str:
        """Open the page, which fills itself."""
        session = uuid.uuid4().hex
        (await client.get(self._root)).raise_for_status()
        await self._call(client, self._load, [], session)
        return session

    async def press(self, client: httpx2.AsyncClient, session: str) -> None:
        """Press Compare and wait for the picture."""
        answer = await self._call(client, self._event, self._data, session)
        run = re.search(r'data-run=\\?"(\w+)', answer)
        if run is None:
            raise AssertionError(answer[:500])
        follow = f"{self._root}/lineup/runs/{run[1]}/events"
        async with client.stream("GET", follow) as stream:
            async for line in stream.aiter_lines():
                if "lineup/pictures/" in line:
                    return

    async def _call(
        self, client: httpx2.AsyncClient, event: int, data: list[Any], session: str
    ) -> str:
        asked = {"data": data, "fn_index": event, "session_hash": session}
        answer = await client.post(f"{self._root}/gradio_api/run/predict", json=asked)
        return answer.raise_for_status().text


async def crowd(visitor: GradioVisitor | LineupVisitor, visitors: int) -> float:
    """Return the 95th percentile of the seconds from the press to the picture, beyond the wait.

    Everybody has the page open, as one has before one presses; then all press at once.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)

    async def timed(client: httpx2.AsyncClient, session: str) -> float:
        began = time.monotonic()
        await visitor.press(client, session)
        return time.monotonic() - began - WAIT

    async with httpx2.AsyncClient(limits=limits, timeout=120, trust_env=False) as client:
        sessions = [await visitor.arrive(client) for _ in range(visitors)]
        waits = await asyncio.gather(*(timed(client, session) for session in sessions))
    return statistics.quantiles(waits, n=20)[-1]


def draw(folder: Path) -> Path:
    """Write a picture of about 100 kB: the crowd is measured here, not the disk."""
    noise = random.Random(1).randbytes(192 * 192 * 3)
    file = folder / "0.png"
    Image.frombytes("RGB", (192, 192), noise).save(file)
    return file


def main(rounds: int = 3) -> list[Line]:
    """Measure and return the line for the report."""
    ours: list[float] = []
    stock: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        picture = draw(Path(name))
        log = Path(name) / "log.jsonl"
        with lineup(Path(name), log, 1, WAIT) as port, defaults(picture) as other:
            for _ in range(rounds):
                stock.append(asyncio.run(crowd(GradioVisitor(other), VISITORS)))
                ours.append(asyncio.run(crowd(LineupVisitor(port), VISITORS)))
    mine, theirs = statistics.median(ours), statistics.median(stock)
    detail = f"p95 beyond the wait: {1000 * mine:.0f} ms ÷ {1000 * theirs:.0f} ms"
    return [Line(f"{VISITORS} visitors ÷ Gradio's defaults", mine / theirs, 0.25, detail)]


if __name__ == "__main__":
    show(main())
