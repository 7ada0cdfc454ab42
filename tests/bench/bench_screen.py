"""Picture to screen: from the hand-over of a picture to its pixels in Chromium.

Ours: the backend yields the bytes; the whole app lies between (hash, disk, ledger, stream, card).
Floor: a bare server pushes the file's address over server-sent events, a bare page shows it.
Both clocks are this machine's. One picture, then eight that arrive one after another.
"""

import asyncio
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from backends.paths import PROJECT
from tests.bench.report import Line, show
from tests.browser.chromium import ARGUMENTS, find

# Records, for every picture, when its pixels are first there: decoded and painted. A card that is
# drawn anew shows the same picture once more.
WATCH = """
window.shown = [];
window.known = new Set();
new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((node) => {
  const images = node.querySelectorAll ? [...node.querySelectorAll("img"), node] : [];
  images.filter((image) => image.tagName === "IMG" && image.src.includes("picture"))
    .filter((image) => !window.known.has(image.src))
    .forEach((image) => {
      window.known.add(image.src);
      image.decode().then(() => requestAnimationFrame(() =>
        window.shown.push({src: image.src, at: performance.timeOrigin + performance.now()})));
    });
}))).observe(document, {childList: true, subtree: true});
"""
BARE = """<!doctype html><body><script>
const stream = new EventSource("events");
stream.onmessage = (event) => {
  const image = new Image();
  image.src = event.data;
  document.body.append(image);
};
stream.addEventListener("end", () => stream.close());
</script>"""


def draw(folder: Path, count: int) -> list[Path]:
    """Write pictures of about 1.6 MB, 1024x1024, each different: noise of four bits a channel."""
    files: list[Path] = []
    for number in range(count):
        noise = random.Random(number).randbytes(1024 * 1024 * 3)
        picture = Image.frombytes("RGB", (1024, 1024), noise).point(
            [value & 0xF0 for value in range(256)] * 3
        )
        files.append(folder / f"{number}.png")
        picture.save(files[-1], compress_level=1)
    return files


@contextmanager
def floor(files: list[Path], wait: float, log: list[float]) -> Generator[int, None, None]:
    """Serve the bare page."""

    async def events(_: Request) -> Response:
        async def stream() -> AsyncGenerator[str, None]:
            for number, _ in enumerate(files):
                await asyncio.sleep(wait)
                log.append(time.time())
                yield f"data: picture/{number}?{random.random()}\n\n"
            yield "event: end\ndata: {}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def picture(request: Request) -> Response:
        return FileResponse(files[int(request.path_params["number"])])

    async def page(_: Request) -> Response:
        return HTMLResponse(BARE)

    routes = [
        Route("/", page),
        Route("/events", events),
        Route("/picture/{number}", picture),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=7973, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield 7973
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def lineup(folder: Path, log: Path, models: int, wait: float) -> Generator[int, None, None]:
    """Serve the whole app with the scripted backend."""
    command = [sys.executable, "-m", "tests.bench.scripted", "--port", "7974"]
    command += ["--wait", str(wait), "--models", str(models)]
    command += ["--log", str(log), "--pictures", str(folder)]
    home = tempfile.mkdtemp()
    environment = {**os.environ, "LINEUP_HOME": home, "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    with stopped(process):
        answering(7974)
        yield 7974


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Generator[None, None, None]:
    """Stop `process` in the end, whatever happens."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def answering(port: int) -> None:
    """Wait until somebody answers on `port`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nobody answers on port {port}")


def visit(browser: Browser, address: str, count: int, press: str | None) -> list[dict[str, Any]]:
    """Open `address` with a cold cache, press what is to be pressed, wait for the pictures."""
    context = browser.new_context()
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(address)
    if press is not None:
        page.wait_for_selector(".lu-chip .lu-dot")
        page.click(press)
    page.wait_for_function(f"window.shown.length >= {count}", timeout=60_000)
    seen: list[dict[str, Any]] = page.evaluate("window.shown")
    for picture in seen:
        picture["sha256"] = hashlib.sha256(page.request.get(picture["src"]).body()).hexdigest()
    context.close()
    return seen


def measure(count: int, rounds: int, browser: Browser, files: list[Path]) -> tuple[float, float]:
    """Return the medians of the mean seconds a picture took: ours, the floor's."""
    wait = 0.5
    ours: list[float] = []
    bare: list[float] = []
    log = files[0].with_name(f"handed-{count}.jsonl")
    handed: list[float] = []
    truth = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    with (
        lineup(files[0].parent, log, count, wait) as port,
        floor(files[:count], wait, handed) as other,
    ):
        for _ in range(rounds + 1):
            handed.clear()
            seen = visit(browser, f"http://127.0.0.1:{other}/", count, None)
            bare.append(mean_delay(seen, handed))
            log.write_text("")
            seen = visit(browser, f"http://127.0.0.1:{port}/", count, "button.lu-go")
            times = [json.loads(line)["at"] for line in log.read_text().splitlines()]
            ours.append(mean_delay(seen, times))
            if not {picture["sha256"] for picture in seen} <= truth:
                raise AssertionError("the browser got other bytes than the backend handed over")
    return statistics.median(ours[1:]), statistics.median(bare[1:])


def mean_delay(seen: list[dict[str, Any]], handed: list[float]) -> float:
    """Return the mean seconds from hand-over to screen."""
    return statistics.mean(s["at"] / 1000 - t for s, t in zip(seen, handed, strict=True))


def main(rounds: int = 5) -> list[Line]:
    """Measure and return the lines for the report."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as player:
        files = draw(Path(name), 8)
        browser = player.chromium.launch(executable_path=find(), args=ARGUMENTS)
        for count, aim in ((1, 1.5), (8, 2.0)):
            ours, bare = measure(count, rounds, browser, files)
            detail = f"{1000 * ours:.0f} ms ÷ {1000 * bare:.0f} ms a picture, same bytes"
            lines.append(Line(f"picture to screen, {count} arriving", ours / bare, aim, detail))
        browser.close()
    return lines


if __name__ == "__main__":
    show(main())
