"""`kill -9` at any moment: no finished picture is lost, nothing that was sent is sent again."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from backends.errors import Outcome
from compare.records import Job, Run
from compare.store.recovery import BETWEEN, NOT_BEGUN, NOT_SENT, SENT
from compare.store.store import Store
from tests.servers.openai import OpenAIServer, Script
from tests.servers.pictures import plain

COUNT = 6


def begin(home: Path, server: OpenAIServer, *more: str) -> subprocess.Popen[bytes]:
    """Start the command line on several models."""
    models = [word for _ in range(COUNT) for word in ("-m", "openai/gpt-image-2")]
    return subprocess.Popen(
        [sys.executable, "-m", "compare", "run", "a fox", "--json", *models, *more],
        env={
            **os.environ,
            "LINEUP_HOME": str(home),
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "none",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def count(home: Path, query: str) -> int:
    if not (home / "lineup.db").exists():
        return 0
    with closing(sqlite3.connect(home / "lineup.db")) as database:
        try:
            return database.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # not migrated yet
            return 0


def start_again(home: Path) -> list[Run]:
    """What the next process finds."""

    async def look() -> list[Run]:
        store = Store(home)
        await store.open()
        runs = [await store.run(run.id) for run in await store.recent()]
        await store.close()
        return [run for run in runs if run is not None]

    return asyncio.run(look())


def check(home: Path, server: OpenAIServer) -> list[Run]:
    """Hold what the next process finds against what the server saw."""
    seen = len(server.generations)
    runs = start_again(home)
    jobs = [job for run in runs for job in run.jobs]
    assert all(job.outcome is not None for job in jobs)
    # Nothing left without its mark, and nothing more leaves by itself.
    assert seen <= sum(job.sent_at is not None for job in jobs)
    assert len(server.generations) == seen
    for job in jobs:
        for saved in job.pictures:
            assert sha256((home / saved.path).read_bytes()).hexdigest() == saved.sha256
        match job.outcome:
            case Outcome.DONE:
                assert len(job.pictures) == 1
            case Outcome.UNKNOWN:
                assert job.sent_at is not None and job.message.startswith(SENT)
                assert job.cost.amount is None
            case Outcome.CANCELLED:
                assert job.sent_at is None and job.message in (
                    (NOT_SENT,) if job.parent is None else (BETWEEN, NOT_BEGUN)
                )
                assert job.cost.amount == 0
            case _:
                raise AssertionError(job)
    # Every complete picture on disk belongs to a job.
    known = {saved.path for job in jobs for saved in job.pictures}
    on_disk = {f"pictures/{file.parent.name}/{file.name}" for file in home.glob("pictures/*/*")}
    assert on_disk == known
    assert not list(home.glob("incoming/*"))
    return runs


def test_killed_while_everything_is_under_way(home: Path, server: OpenAIServer):
    server.usual = Script(hang=True)
    process = begin(home, server)
    wait_for(lambda: len(server.generations) == COUNT)
    kill(process)
    (run,) = check(home, server)
    assert [job.outcome for job in run.jobs] == [Outcome.UNKNOWN] * COUNT


def test_killed_when_some_are_done(home: Path, server: OpenAIServer):
    server.usual = Script(hang=True)
    server.queue.extend([Script(picture=plain(64, 64, bytes([n, n, n]))) for n in range(3)])
    process = begin(home, server)
    wait_for(lambda: count(home, "select count(*) from jobs where outcome = 'done'") == 3)
    wait_for(lambda: len(server.generations) == COUNT)
    kill(process)
    (run,) = check(home, server)
    outcomes = [job.outcome for job in run.jobs]
    assert outcomes.count(Outcome.DONE) == 3
    assert outcomes.count(Outcome.UNKNOWN) == COUNT - 3
    assert sum(len(job.pictures) for job in run.jobs) == 3


def test_killed_before_anything_was_sent(home: Path, server: OpenAIServer):
    process = begin(home, server)
    wait_for(lambda: count(home, "select count(*) from jobs") == COUNT)
    kill(process)
    check(home, server)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(home: Path, server: OpenAIServer, seed: int):
    chance = random.Random(seed)
    colours = [bytes(chance.randbytes(3)) for _ in range(COUNT)]
    server.queue.extend(
        Script(picture=plain(64, 64, colour), delay=chance.uniform(0, 0.4)) for colour in colours
    )
    process = begin(home, server)
    wait_for(lambda: count(home, "select count(*) from jobs") == COUNT)
    time.sleep(chance.uniform(0, 1.4))
    kill(process)
    check(home, server)


def test_killed_between_two_steps(home: Path, server: OpenAIServer):
    """Every first picture is there, every second request has left."""
    server.usual = Script(picture=plain())
    server.models["gpt-image-2.5-flare"] = Script(hang=True)
    process = begin(home, server, "--then", "openai/gpt-image-2.5-flare")
    wait_for(lambda: len(server.generations) == 2 * COUNT)
    kill(process)
    (run,) = check(home, server)
    for first, second in pairs(run):
        assert (first.outcome, second.outcome) == (Outcome.DONE, Outcome.UNKNOWN)


def test_killed_before_a_second_step_was_sent(home: Path, server: OpenAIServer):
    """Some first pictures are there and their second steps wait; others are still to come."""
    server.usual = Script(hang=True)
    server.queue.extend([Script(picture=plain(64, 64, bytes([n, n, n]))) for n in range(3)])
    process = begin(home, server, "--then", "miniature/diffusion", "--strength", "0.5")
    wait_for(lambda: count(home, "select count(*) from jobs where outcome = 'done'") == 3)
    kill(process)  # at the latest while a pipeline is loaded for the second step
    (run,) = check(home, server)
    for first, second in pairs(run):
        assert second.outcome is Outcome.CANCELLED
        drawn = first.outcome is Outcome.DONE
        assert second.message == (BETWEEN if drawn else NOT_BEGUN)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_of_two_steps(home: Path, server: OpenAIServer, seed: int):
    chance = random.Random(100 + seed)
    colours = [bytes(chance.randbytes(3)) for _ in range(2 * COUNT)]
    server.queue.extend(
        Script(picture=plain(64, 64, colour), delay=chance.uniform(0, 0.3)) for colour in colours
    )
    process = begin(home, server, "--then", "openai/gpt-image-2.5-flare")
    wait_for(lambda: count(home, "select count(*) from jobs") == 2 * COUNT)
    time.sleep(chance.uniform(0, 1.4))
    kill(process)
    (run,) = check(home, server)
    for first, second in pairs(run):
        assert first.outcome is Outcome.DONE or second.sent_at is None


def pairs(run: Run) -> list[tuple[Job, Job]]:
    """The first and the second step of each chain."""
    seconds = {job.parent: job for job in run.jobs if job.parent}
    return [(job, seconds[job.id]) for job in run.jobs if job.parent is None]


def test_the_next_run_is_not_disturbed(home: Path, server: OpenAIServer):
    server.usual = Script(hang=True)
    process = begin(home, server)
    wait_for(lambda: len(server.generations) == COUNT)
    kill(process)
    server.usual = Script(picture=plain())
    second = begin(home, server)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0
    assert [job["outcome"] for job in json.loads(output)["jobs"]] == ["done"] * COUNT
    assert len(server.generations) == 2 * COUNT
    assert len(check(home, server)) == 2


def test_two_processes_share_a_home(home: Path, server: OpenAIServer):
    server.usual = Script(picture=plain(), delay=0.5)
    both = [begin(home, server) for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert [job["outcome"] for job in json.loads(output)["jobs"]] == ["done"] * COUNT
    assert len(server.generations) == 2 * COUNT
    assert len(check(home, server)) == 2
