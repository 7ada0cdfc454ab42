"""Kill the app with -9 under eight paid jobs, start it again, and look at what it finds."""

import contextlib
import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx2

from backends.files import PART
from tests.app.visitor import Visitor
from tests.app_process import App, serve
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script
from tests.servers.pictures import plain

WORDS = "ant|bee|cat|dog|elk|fox|gnu|hen"
MODEL = ["openai/gpt-image-2.6-flare"]
MOMENTS = ("stored", "sent", "arriving")
"""Up to a second after the jobs were stored or after the first request has arrived, and as soon as
a whole picture is on the disk that the database may not know yet.

The first request of a process needs some seconds for its imports, so that a moment counted from the
start alone comes before it; and the last moment lasts some milliseconds only.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What one round left: its jobs by outcome, how many requests arrived, and its pictures."""

    outcomes: Counter[str]
    sent: int
    pictures: int


def settings(server: OpenAIServer) -> dict[str, str]:
    """Return the settings of an app that draws at `server`."""
    return {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": server.base_url}


def press(address: str, marker: str) -> None:
    """Start eight runs of one job each; the app may be killed meanwhile."""
    visitor = Visitor(address)
    fields = {"Prompt": f"{{{WORDS}}} {marker}", "html": MODEL}
    visitor.call("announce", **fields)
    with contextlib.suppress(httpx2.HTTPError):
        visitor.call("compare", **fields)


def rounds(
    home: Path, server: OpenAIServer, rng: random.Random, moments: Iterable[str]
) -> Iterator[Found | AssertionError]:
    """Kill the app once for each of `moments` and start it again.

    Yield what it then found, or the check that failed. An app that was started again is the next
    one to be killed.
    """
    with ExitStack() as running:
        app = running.enter_context(serve(home, **settings(server)))
        for number, moment in enumerate(moments):
            marker = f"round {number}"
            whole = kill(app, server, rng, marker, moment)
            running.close()
            app = running.enter_context(serve(home, **settings(server)))
            try:
                yield check(home, server, marker, whole)
            except AssertionError as error:
                yield error


def kill(
    app: App, server: OpenAIServer, rng: random.Random, marker: str, moment: str
) -> frozenset[str]:
    """Press, and kill the app at a moment; return the SHA-256 of the pictures that were whole then.

    Each job has a picture of its own. The moment is one of `MOMENTS`.
    """
    before = len(server.generations)
    _prepare(server, rng)
    presser = Thread(target=press, args=(app.address, marker))
    presser.start()
    reached = {
        "stored": lambda: True,
        "sent": lambda: len(server.generations) > before,
        "arriving": lambda: bool(_whole(app.home.glob("incoming/*"))),
    }[moment]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (count(app.home, marker) == 8 and reached()):
        time.sleep(0.001)
    if moment != "arriving":
        time.sleep(rng.uniform(0, 1.0))
    app.kill()
    presser.join()
    return frozenset(map(_sha256, _pictures(app.home)))


def _prepare(server: OpenAIServer, rng: random.Random) -> None:
    """Give each of the next eight requests a picture of its own, at a moment of its own."""
    server.queue.clear()
    for _ in range(8):
        picture = plain(64, 64, rng.randbytes(3))
        server.queue.append(Script(picture=picture, delay=rng.uniform(0, 1.0)))


def _pictures(home: Path) -> list[Path]:
    """Return the file of every picture that was received and written completely."""
    return [*home.glob("pictures/*/*"), *_whole(home.glob("incoming/*"))]


def _whole(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if file.suffix != PART]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def count(home: Path, marker: str, *, ended: bool = False) -> int:
    """Return how many jobs of a round are stored, or how many of them have ended."""
    if not (home / "lineup.db").exists():
        return 0
    with closing(sqlite3.connect(home / "lineup.db")) as database:
        query = "select count(*) from jobs join runs on runs.id = run_id where prompt like ?"
        query += " and outcome is not null" if ended else ""
        try:
            return database.execute(query, [f"%{marker}"]).fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def check(home: Path, server: OpenAIServer, marker: str, whole: frozenset[str]) -> Found:
    """Compare what the app found after its start with what the server saw.

    Nothing was sent twice; every job has an end; what is done has its picture, whole; and every
    picture that was whole at the kill, or is on the disk now, belongs to a job.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if count(home, marker, ended=True) == 8 and not list(home.glob("incoming/*")):
            break
        time.sleep(0.01)
    prompts = [json.loads(request.body)["prompt"] for request in server.generations]
    twice = [prompt for prompt, number in Counter(prompts).items() if number > 1]
    assert not twice, twice
    with closing(sqlite3.connect(home / "lineup.db")) as database:
        rows = database.execute(
            "select jobs.id, outcome, sent_at, prompt from jobs join runs on runs.id = run_id "
            "where prompt like ?",
            [f"%{marker}"],
        ).fetchall()
        kept = dict(database.execute("select path, sha256 from pictures").fetchall())
        owners = Counter(row[0] for row in database.execute("select job_id from pictures"))
    assert len(rows) == 8
    mine = [row[0] for row in rows]
    for id, outcome, sent_at, prompt in rows:
        assert outcome is not None, f"{id} has no end"
        assert sent_at is not None or prompt not in prompts, f"{id} was sent without its mark"
        assert outcome != "done" or owners[id] == 1
    for path, sha256 in kept.items():
        assert _sha256(home / path) == sha256
    on_disk = {f"pictures/{file.parent.name}/{file.name}" for file in home.glob("pictures/*/*")}
    assert on_disk == set(kept)
    assert whole <= set(kept.values()), "a picture that was whole at the kill is lost"
    assert not list((home / "incoming").iterdir())
    arrived = sum(prompt.endswith(f" {marker}") for prompt in prompts)
    return Found(Counter(row[1] for row in rows), arrived, sum(owners[id] for id in mine))
