"""200 jobs at once over slow servers, against the same calls made by the bare client libraries.

    python -m tests.bench many

Half of the jobs go to a server that speaks OpenAI's API, half to one that speaks Google's; each
answers after two seconds with a picture of 1.6 MB. The lanes are wide open. Every round of either
contender is a process of its own, so that its memory is its own; they take turns. "memory" is how
much the process grew at most over what it held before the first call, beside the bytes of all
pictures, of which all are in flight at once; "stall" the longest time for which the event loop did
nothing else, of which "own work" is what it would be on an idle machine. The bare libraries keep
the pictures in memory, Lineup has them on disk and in its ledger before it calls a job done.
"""

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from backends.base import Backend, Config, Lane, Model, Request
from backends.google import Google
from backends.openai import OpenAI
from compare.catalogue.catalogue import Catalogue
from compare.lineup import open_lineup
from compare.records import RunSpec
from compare.settings import Settings
from tests.bench.report import Line, show
from tests.servers.pictures import noise

JOBS = 200
DELAY = 2.0
ROUNDS = 3
MEGABYTE = 1e6
PAUSE = 0.005


@dataclass
class Measured:
    """One round: seconds, the growth of memory in bytes, the loop's longest stall in seconds.

    `busy` is the part of the longest stall that was this process's own work: the rest is what
    other processes of a busy machine took.
    """

    wall: float = 0.0
    memory: float = 0.0
    stall: float = 0.0
    busy: float = 0.0


class WideOpenAI(OpenAI):
    """As many at once as there are."""

    def lane(self, model: Model) -> Lane:
        return Lane("openai", JOBS)


class WideGoogle(Google):
    """As many at once as there are."""

    def lane(self, model: Model) -> Lane:
        return Lane("google", JOBS)


def create(name: str, config: Config) -> Backend:
    """Return a backend whose lane is no limit."""
    return {"openai": WideOpenAI, "google": WideGoogle}[name](config)


async def bare(openai_url: str, google_url: str, count: int) -> Measured:
    """All calls in one gather, as the packages' own documentation makes them."""
    from google import genai
    from google.genai import types
    from openai import AsyncOpenAI

    async def first(client: AsyncOpenAI, number: int) -> bytes:
        answer = await client.images.generate(model="gpt-image-2", prompt=f"picture {number}")
        assert answer.data is not None
        return base64.b64decode(answer.data[0].b64_json or "")

    async def other(client: genai.Client, number: int) -> bytes:
        answer = await client.aio.models.generate_content(
            model="gemini-bench",
            contents=f"picture {number}",
            config=types.GenerateContentConfig(response_modalities=["IMAGE"]),
        )
        data = [part.inline_data.data for part in answer.parts or () if part.inline_data]
        return data[0] or b""

    place = types.HttpOptions(base_url=google_url, api_version="v1")
    google = genai.Client(api_key="none", http_options=place)
    async with AsyncOpenAI(api_key="none", base_url=openai_url, max_retries=0) as openai:

        async def draw(number: int) -> bytes:
            return await (other(google, number) if number % 2 else first(openai, number))

        await asyncio.gather(draw(0), draw(1))  # imports and the first connections
        async with watched() as seen:
            kept = await asyncio.gather(*(draw(number) for number in range(count)))
    assert all(len(data) > MEGABYTE for data in kept)
    return seen


async def lineup(openai_url: str, google_url: str, count: int) -> Measured:
    """One run with a model for each job: ledger, disk, news."""
    models = Catalogue(tuple(entry(number) for number in range(count)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "LINEUP_HOME": folder,
            "OPENAI_BASE_URL": openai_url,
            "GOOGLE_BASE_URL": google_url,
        }
        async with open_lineup(Settings.read(), catalogue=models, create=create) as opened:

            async def draw(ids: list[str]) -> None:
                run = await opened.runner.start(RunSpec(Request(prompt="many")), ids)
                async for job in opened.runner.watch(run.id):
                    assert job.outcome in (None, "done"), job.message

            ids = [model.id for model in models.models]
            await draw(ids[:2])  # imports and the first connections
            async with watched() as seen:
                await draw(ids)
        assert await asyncio.to_thread(_kept, Path(folder)) > MEGABYTE
    return seen


def _kept(folder: Path) -> int:
    """The size of the largest picture on disk: all are the same one."""
    return max(file.stat().st_size for file in folder.rglob("*.png"))


def entry(number: int) -> Model:
    """Return a model of one of the servers."""
    backend, source = ("google", "gemini-bench") if number % 2 else ("openai", "gpt-image-2")
    return Model(
        id=f"{backend}/bench-{number}",
        label=f"Bench {number}",
        family="bench",
        source=source,
        supports=frozenset({"count"}),
        options={"partials": 0},
    )


@asynccontextmanager
async def watched() -> AsyncGenerator[Measured, None]:
    """Measure what goes on inside, looking every five milliseconds."""
    seen, held = Measured(), _memory()

    async def watch() -> None:
        before, worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(PAUSE)
            now, work = time.perf_counter(), time.thread_time()
            seen.stall = max(seen.stall, now - before - PAUSE)
            seen.busy = max(seen.busy, work - worked - PAUSE)
            seen.memory = max(seen.memory, _memory() - held)
            before, worked = now, work

    watching, began = asyncio.create_task(watch()), time.perf_counter()
    try:
        yield seen
    finally:
        seen.wall = time.perf_counter() - began
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _memory() -> float:
    """How many bytes of memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


CONTENDERS: dict[str, Callable[[str, str, int], Awaitable[Measured]]] = {
    "bare": bare,
    "lineup": lineup,
}


async def _draw(name: str, openai_url: str, google_url: str) -> Measured:
    return await CONTENDERS[name](openai_url, google_url, JOBS)


def main() -> list[Line]:
    """Measure and return the lines for the report."""
    command = [sys.executable, "-m", "tests.bench.slow_servers", "--delay", str(DELAY)]
    taken: dict[str, list[Measured]] = {name: [] for name in CONTENDERS}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as servers:
        try:
            assert servers.stdout is not None
            places = servers.stdout.readline().split()
            for _ in range(ROUNDS):
                for name in CONTENDERS:
                    taken[name].append(_round(name, *places))
        finally:
            servers.terminate()
    return _lines(taken["bare"], taken["lineup"])


def _round(name: str, *places: str) -> Measured:
    command = [sys.executable, "-m", "tests.bench.bench_many", name, *places]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout))


def _lines(bare: list[Measured], ours: list[Measured]) -> list[Line]:
    def middle(rounds: list[Measured], what: str) -> float:
        return statistics.median(getattr(each, what) for each in rounds)

    wall, theirs = middle(ours, "wall"), middle(bare, "wall")
    pictures = JOBS * len(noise())
    memory, kept = middle(ours, "memory"), middle(bare, "memory")
    size = f"{memory / MEGABYTE:.0f} MB for {pictures / MEGABYTE:.0f} MB of pictures"
    lines = [
        Line(f"{JOBS} jobs ÷ bare", wall / theirs, 1.15, f"{wall:.2f} s; bare {theirs:.2f} s"),
        Line(
            f"{JOBS} jobs: memory ÷ pictures in flight",
            memory / pictures,
            None,
            f"{size}; bare {kept / MEGABYTE:.0f} MB",
        ),
    ]
    for what, words in (("stall", "longest stall"), ("busy", "its part that was own work")):
        mine, other = middle(ours, what), middle(bare, what)
        told = f"{mine * 1000:.0f} ms; bare {other * 1000:.0f} ms"
        lines.append(Line(f"{JOBS} jobs: {words} ÷ 100 ms", mine / 0.1, 1.0, told))
    return lines


if __name__ == "__main__":
    if sys.argv[1:]:
        name, *places = sys.argv[1:]
        print(json.dumps(asdict(asyncio.run(_draw(name, *places)))))
    else:
        show(main())
