"""Kill the app with -9 under eight paid jobs, start it again, and look at what it finds."""

import contextlib
import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx2

from backends.files import PART
from tests.app.conftest import serve
from tests.app.visitor import Visitor
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script
from tests.servers.pictures import plain

WORDS = "ant|bee|cat|dog|elk|fox|gnu|hen"
MODEL = ["openai/gpt-image-2.6-flare"]


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


def kill_once(home: Path, server: OpenAIServer, rng: random.Random, marker: str) -> Found:
    """Run one round: press, kill at a random moment, start again, and check what is there.

    Each job has a picture of its own. The moment lies, in one round of four, after the jobs were
    stored: in the others after the first request has arrived. The first request of a process needs
    some seconds for its imports, so that a moment counted from the start alone comes before it.
    """
    before = len(server.generations)
    _prepare(server, rng)
    with serve(home, **settings(server)) as app:
        presser = Thread(target=press, args=(app.address, marker))
        presser.start()
        early = rng.random() < 0.25
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if count(home, marker) == 8 and (early or len(server.generations) > before):
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1.0))
        app.kill()
        presser.join()
    whole = _whole_pictures(home)
    with serve(home, **settings(server)) as app:
        deadline = time.monotonic() + 30
        while count(home, marker, ended=True) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert whole <= _whole_pictures(home), "a picture that was whole at the kill is lost"
        return check(home, server, marker)


def _prepare(server: OpenAIServer, rng: random.Random) -> None:
    """Give each of the next eight requests a picture of its own, at a moment of its own."""
    server.queue.clear()
    for _ in range(8):
        picture = plain(64, 64, rng.randbytes(3))
        server.queue.append(Script(picture=picture, delay=rng.uniform(0, 1.0)))


def _whole_pictures(home: Path) -> set[str]:
    """Return the SHA-256 of every picture that was received and written completely."""
    files = [*home.glob("pictures/*/*"), *home.glob("incoming/*")]
    whole = [file for file in files if file.suffix != PART]
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in whole}


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


def check(home: Path, server: OpenAIServer, marker: str) -> Found:
    """Compare what the app found after its start with what the server saw.

    Nothing was sent twice; every job has an end; what is done has its picture, whole; and every
    whole picture on the disk belongs to a job.
    """
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
        assert hashlib.sha256((home / path).read_bytes()).hexdigest() == sha256
    on_disk = {f"pictures/{file.parent.name}/{file.name}" for file in home.glob("pictures/*/*")}
    assert on_disk == set(kept)
    assert not list((home / "incoming").iterdir())
    arrived = sum(prompt.endswith(f" {marker}") for prompt in prompts)
    return Found(Counter(row[1] for row in rows), arrived, sum(owners[id] for id in mine))
