"""Fan-out: many pictures at once, against bare calls of the openai package that keep the bytes.

    python -m tests.bench fanout

The server runs in a process of its own and sends a picture of 1.6 MB after the delay. Contenders
take turns, so that whatever else the machine does hits all of them alike; read the ratios. "stall"
is the longest time for which the event loop did nothing else. "runner" is all of Lineup below the
screen: ledger, disk, news; "its slowest job" compares its wall time with the job that took longest.
"""

import asyncio
import base64
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.base import Config, Model, Picture, Request
from backends.openai import OpenAI
from compare.catalogue.catalogue import Catalogue
from compare.lineup import open_lineup
from compare.records import RunSpec
from compare.settings import Settings
from tests.bench.report import Line, show

DELAY = 2.0
JOBS = (8, 64)
ROUNDS = 5
PORT = 18399


@dataclass(frozen=True)
class Contender:
    """Draws `count` pictures at once from the server at `base_url`, keeps them in `folder`.

    `draw` may return the seconds that count, where it also has things to open and close.
    """

    label: str
    draw: Callable[[str, int, Path], Awaitable[float | None]]
    against: str | None = None


async def bare(base_url: str, count: int, folder: Path, partials: int = 0) -> None:
    """Calls of the package in one gather, bytes kept in memory."""
    from openai import AsyncOpenAI

    async def one(number: int) -> bytes:
        call = client.images.generate
        prompt = f"picture {number}"
        if not partials:
            answer = await call(model="gpt-image-2", prompt=prompt)
            assert answer.data is not None
            return base64.b64decode(answer.data[0].b64_json or "")
        stream = await call(
            model="gpt-image-2", prompt=prompt, stream=True, partial_images=partials
        )
        data = b""
        async for event in stream:
            data = base64.b64decode(event.b64_json)
        return data

    async with AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0) as client:
        kept = await asyncio.gather(*(one(number) for number in range(count)))
    assert all(len(data) > 1_000_000 for data in kept)


async def bare_streams(base_url: str, count: int, folder: Path) -> None:
    """The same with two partial pictures each."""
    await bare(base_url, count, folder, partials=2)


async def backend(base_url: str, count: int, folder: Path, partials: int = 0) -> None:
    """Our backend; bytes on disk under their SHA-256."""
    model = entry(0, partials)
    settings = {"OPENAI_BASE_URL": base_url, "OPENAI_STREAM": "on"}
    drawer = OpenAI(Config(value=settings.get, home=folder))

    async def one(number: int) -> int:
        saved = 0
        async for event in drawer.generate(model, Request(prompt=f"picture {number}")):
            if isinstance(event, Picture):
                await asyncio.to_thread(save, event.data, folder)
                saved += 1
        return saved

    saved = await asyncio.gather(*(one(number) for number in range(count)))
    await drawer.aclose()
    assert saved == [1] * count


async def backend_streams(base_url: str, count: int, folder: Path) -> None:
    """The same with two partial pictures each, shown as previews."""
    await backend(base_url, count, folder, partials=2)


async def runner(base_url: str, count: int, folder: Path, partials: int = 0) -> float:
    """The whole of Lineup below the screen; returns how long its slowest job took."""
    models = Catalogue(tuple(entry(number, partials) for number in range(count)))
    os.environ.update(LINEUP_HOME=str(folder), OPENAI_BASE_URL=base_url, OPENAI_STREAM="on")
    async with open_lineup(Settings.read(), catalogue=models) as lineup:
        began = time.perf_counter()
        run = await lineup.runner.start(
            RunSpec(Request(prompt="many")), [m.id for m in models.models]
        )
        slowest = {job.id: 0.0 for job in run.jobs}
        async for job in lineup.runner.watch(run.id):
            if job.outcome is not None:
                assert job.outcome == "done", job.message
                slowest[job.id] = job.timing.total or 0.0
        wall = time.perf_counter() - began
    TAKEN.append((wall, max(slowest.values())))
    return wall


async def runner_streams(base_url: str, count: int, folder: Path) -> float:
    """The same with two partial pictures each, shown as previews."""
    return await runner(base_url, count, folder, partials=2)


def entry(number: int, partials: int) -> Model:
    """Return a model of the server's."""
    return Model(
        id=f"openai/bench-{number}",
        label="Bench",
        family="gpt-image",
        source="gpt-image-2",
        supports=frozenset({"count"}),
        options={"qualities": "low,medium,high", "partials": partials},
    )


def save(data: bytes, folder: Path) -> None:
    """Write once, under the hash."""
    (folder / f"{hashlib.sha256(data).hexdigest()}-{time.perf_counter_ns()}").write_bytes(data)


CONTENDERS = [
    Contender("bare, plain", bare),
    Contender("backend, plain", backend, against="bare, plain"),
    Contender("runner, plain", runner, against="bare, plain"),
    Contender("bare, stream", bare_streams),
    Contender("backend, stream", backend_streams, against="bare, stream"),
    Contender("runner, stream", runner_streams, against="bare, stream"),
]
TAKEN: list[tuple[float, float]] = []


@dataclass
class Measured:
    """What one round took: seconds, CPU milliseconds a picture, the loop's longest stall."""

    wall: float
    cpu: float
    stall: float


async def measure(contender: Contender, base_url: str, count: int) -> Measured:
    """Run one round."""
    with tempfile.TemporaryDirectory() as folder:
        watch = asyncio.create_task(_watch())
        wall, cpu = time.perf_counter(), time.process_time()
        counted = await contender.draw(base_url, count, Path(folder))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        wall = wall if counted is None else counted
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    return Measured(wall, cpu * 1000 / count, _stalls.pop() * 1000)


_stalls: list[float] = []


async def _watch() -> None:
    worst, before = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            worst, before = max(worst, now - before - 0.005), now
    finally:
        _stalls.append(worst)


def main() -> list[Line]:
    """Measure and return the lines for the report."""
    server = [sys.executable, "-m", "tests.servers.openai", "--port", str(PORT)]
    process = subprocess.Popen([*server, "--delay", str(DELAY)], stdout=subprocess.PIPE)
    lines: list[Line] = []
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().decode().strip()
        for count in JOBS:
            lines += asyncio.run(_table(base_url, count))
    finally:
        process.terminate()
        process.wait()
    return lines


async def _table(base_url: str, count: int) -> list[Line]:
    for contender in CONTENDERS:  # imports and caches
        await measure(contender, base_url, 1)
    TAKEN.clear()
    taken: dict[str, list[Measured]] = {contender.label: [] for contender in CONTENDERS}
    for _ in range(ROUNDS):
        for contender in CONTENDERS:
            taken[contender.label].append(await measure(contender, base_url, count))
    walls = {name: statistics.median(run.wall for run in runs) for name, runs in taken.items()}
    lines: list[Line] = []
    for contender in CONTENDERS:
        runs = taken[contender.label]
        cpu = statistics.median(run.cpu for run in runs)
        stall = statistics.median(run.stall for run in runs)
        wall = walls[contender.label]
        detail = f"{wall / DELAY:.2f} ÷ delay, {cpu:.0f} ms CPU a picture, stall {stall:.0f} ms"
        if contender.against:
            ratio, aim = wall / walls[contender.against], 1.0
            lines.append(Line(f"{count} x {contender.label} ÷ bare", ratio, aim, detail))
        else:
            lines.append(Line(f"{count} x {contender.label} ÷ delay", wall / DELAY, None, detail))
    ratio = statistics.median(wall / slowest for wall, slowest in TAKEN)
    lines.append(Line(f"{count} x runner ÷ its slowest job", ratio, 1.1))
    return lines


if __name__ == "__main__":
    show(main())
