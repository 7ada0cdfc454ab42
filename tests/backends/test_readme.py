"""The how-to beside the code is right: its backend works everywhere, and its names exist."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import backends
from backends.base import Backend, Config, Model, Picture, Progress, Receipt, Request, Sending
from backends.errors import BadInput
from tests.backends.toy import README, block, grow

MODEL = Model(id="squares/one", label="Squares", family="toy", source="", most_count=3)


ELSEWHERE = {"asyncio", "contextlib", "request", "self", "torch", "Backend"}
"""What the page names that is no module of this package."""


@pytest.fixture
def squares(home: Path) -> Backend:
    names: dict[str, Any] = {"__name__": "squares"}
    exec(compile(block("python"), "backends/README.md", "exec"), names)
    return names["Squares"](Config(value=lambda _: None, home=home))


async def test_the_toy_backend_obeys_the_contract(squares: Backend) -> None:
    asked = Request(prompt="a sunset", width=96, height=64, count=9, seed=1)
    events = [event async for event in squares.generate(MODEL, asked)]
    assert isinstance(events[0], Sending)
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    pictures = [event for event in events if isinstance(event, Picture)]
    assert {(picture.width, picture.height) for picture in pictures} == {(96, 64)}
    assert len({picture.data for picture in pictures}) == 3
    assert isinstance(events[-1], Receipt)
    assert events[-1].honoured["count"].note == "3 instead of 9 pictures"
    with pytest.raises(BadInput, match="squares only"):
        _ = [event async for event in squares.generate(MODEL, Request(prompt="a circle"))]


def test_every_name_exists() -> None:
    folder = Path(backends.__file__).parent
    spans = re.findall(r"`((?:\w+\.)+)(\w+)(?:\(.*?\))?`", README)
    named = [
        (module.rstrip("."), name)
        for module, name in spans
        if name != "py" and module.split(".")[0] not in ELSEWHERE
    ]
    assert len(named) >= 20
    for module, name in named:
        assert hasattr(importlib.import_module(f"backends.{module}"), name), f"{module}.{name}"
    for file in re.findall(r"`((?!acme)[\w/]+/[\w/]+\.py)`", README):
        assert (folder / file).exists() or (folder.parent / file).exists(), file


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(tmp_path_factory.mktemp("grown"))


def test_the_command_line_runs_it(grown: Path, home: Path) -> None:
    words = ["run", "a sunset", "-m", "squares/one", "--size", "96x64", "--count", "2", "--json"]
    (job,) = json.loads(lineup(grown, home, *words, "--option", "squares.pause=0.01"))["jobs"]
    assert job["outcome"] == "done" and job["cost"]["amount"] == "0"
    assert [(picture["width"], picture["height"]) for picture in job["pictures"]] == [(96, 64)] * 2
    assert all(Path(picture["path"]).read_bytes() for picture in job["pictures"])


def test_the_table_lists_it(grown: Path, home: Path) -> None:
    rows = json.loads(lineup(grown, home, "models", "--json"))
    (row,) = (row for row in rows if row["id"] == "squares/one")
    assert row["ready"]["state"] == "ready"
    assert "Squares" in lineup(grown, home, "models", "--markdown")


def test_the_contract_and_the_fault_matrix_run_over_it(grown: Path) -> None:
    files = [f"tests/backends/test_{name}.py" for name in ("contract", "faults", "registry")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "squares or registry", *files],
        cwd=grown,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"The contract: \d cases over 1 backends; [3-9] passed, 0 failed", done.stdout)
    assert re.search(r"The fault matrix: \d+ cases over 1 backends; .* 0 failed", done.stdout)


def lineup(grown: Path, home: Path, *words: str) -> str:
    """What the command line of a Lineup prints."""
    done = subprocess.run(
        [sys.executable, "-m", "compare", *words],
        cwd=grown,
        env={**os.environ, "LINEUP_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
