"""Helpers for the tests of the store: a new run, and code run in another process."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

from backends.base import Request
from compare.records import Job, Run, RunSpec

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def new_run(id: str = "r1", *, jobs: int = 1, spec: RunSpec | None = None) -> Run:
    return Run(
        id=id,
        created_at=NOW,
        spec=spec or RunSpec(Request(prompt="a fox")),
        jobs=tuple(
            Job(id=f"{id}-{number}", run_id=id, model=f"test/{number}", created_at=NOW)
            for number in range(jobs)
        ),
    )


def elsewhere(code: str, home: Path) -> str:
    """Run `code` in a process of its own and return what it prints."""
    words = [sys.executable, "-c", textwrap.dedent(code), str(home)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
