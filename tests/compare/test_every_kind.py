"""One prompt to a model of every kind at once, as a person asks for it on the command line.

A kind is a harness tests/backends/*/harness.py: a new one joins by a line in `EXPECTED`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from backends.paths import PROJECT
from compare.catalogue.catalogue import load
from tests.backends.harness import Harness, all_harnesses
from tests.servers.midjourney import Midjourney
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script
from tests.servers.pictures import plain

SIDE = 64


@dataclass(frozen=True)
class Expected:
    """What a kind's job comes to: how many pictures, the first of them, and what it costs."""

    model: str
    cost: str | None
    pictures: int = 1
    first: bytes = plain()


EXPECTED = {
    "openai": Expected("openai/gpt-image-2", "0.00594"),
    "google": Expected("google/gemini-nano-banana-2.1", "0.034368"),
    "huggingface": Expected("huggingface/flux.1-schnell@replicate", "0.003"),
    "stability": Expected("stability/core", "0.03"),
    "a1111": Expected("a1111/current", "0", first=plain(SIDE, SIDE, bytes((40, 80, 0)))),
    "comfyui": Expected("comfyui/first", "0", first=plain(SIDE, SIDE, bytes((40, 0, 0)))),
    "craiyon": Expected("craiyon/v3", None, pictures=9),
    "midjourney": Expected("midjourney/v8.1", "0.05", pictures=5),
    "a named server": Expected("openai@mine/qwen-image", None),
}


def test_every_kind_draws_at_the_same_time(home: Path) -> None:
    with everything() as (harnesses, settings):
        done = run(home, settings, harnesses["midjourney"].server)
        assert all(harness.billable == 1 for harness in harnesses.values())
    jobs = {job["model"]: job for job in done["jobs"]}
    assert len(jobs) == len(EXPECTED)
    for kind, expected in EXPECTED.items():
        job = jobs[expected.model]
        assert job["outcome"] == "done", f"{kind}: {job['message']}"
        files = [Path(picture["path"]).read_bytes() for picture in job["pictures"]]
        assert len(files) == expected.pictures, kind
        assert files[0] == expected.first, kind
        named = [picture["sha256"] for picture in job["pictures"]]
        assert named == [sha256(data).hexdigest() for data in files]
        assert job["timing"]["total"] > 0 and job["timing"]["generate"] > 0, kind
        assert amount(job) == expected.cost, kind
        assert job["honoured"]["size"], kind


def amount(job: dict[str, Any]) -> str | None:
    """What a job cost, without the zeros at the end."""
    said = job["cost"]["amount"]
    return None if said is None else f"{Decimal(said).normalize():f}"


def run(home: Path, settings: dict[str, str], midjourney: Midjourney) -> dict[str, Any]:
    """Run the command in a process of its own, and paste what it asks a person to paste."""
    models = [word for each in EXPECTED.values() for word in ("-m", each.model)]
    words = ["a lighthouse", *models, "--size", f"{SIDE}x{SIDE}", "--seed", "7", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "compare", "run", *words],
        cwd=PROJECT,
        env={**os.environ, **settings, "LINEUP_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            _, slash, command = line.rstrip("\n").partition("/imagine")
            if slash:
                midjourney.paste(slash + command)
        shown = process.stdout.read()
    assert process.returncode == 0, "".join(said)
    assert len(midjourney.pasted) == 1
    return json.loads(shown)


@contextmanager
def everything() -> Generator[tuple[dict[str, Harness], dict[str, str]]]:
    """Start all servers; yield the harnesses by name, and the settings for all of them together."""
    with ExitStack() as stack:
        mine = stack.enter_context(OpenAIServer(Script(picture=plain())))
        settings = {"OPENAI_SERVERS": f"mine={mine.base_url}"}
        harnesses: dict[str, Harness] = {}
        for name, here in all_harnesses().items():
            if name in EXPECTED:
                harnesses[name] = stack.enter_context(here())
                settings |= harnesses[name].settings(harnesses[name].origin)
        harnesses["comfyui"].slow(0.1)  # it tells its seconds in whole milliseconds
        yield harnesses, {**settings, "MIDJOURNEY_PASTE_SECONDS": "30"}


def test_the_models_are_those_of_the_catalogue() -> None:
    catalogue = load()
    assert {catalogue.find(each.model).backend for each in EXPECTED.values()} == {*EXPECTED} - {
        "a named server"
    }
