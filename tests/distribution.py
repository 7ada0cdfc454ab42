"""How pytest-xdist spreads the tests over the cores: how many workers, and which files go where."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

MAX_WORKERS = 4
"""Each worker imports PyTorch, 10 s of a core and 1.3 GB: more workers than these gain little."""
BROWSER = "tests/browser/"
BROWSER_HALF = "tests/browser/test_e"
"""The first file of the second half, by the number of tests."""
APP = "tests/app/"
HEAVY = ("tests/backends/local/", "tests/backends/miniatures/")


def worker_count(arguments: Sequence[str]) -> int:
    """Return the number of workers for a run of pytest with these files and folders.

    One more than there are cores, because the tests of timeouts, and those that watch Chromium or
    another process, mostly wait. Starting workers costs more than it gains where single files are
    named: 0, no worker.
    """
    if all(Path(argument.partition("::")[0]).is_file() for argument in arguments):
        return 0
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return min(cores + 1, MAX_WORKERS)


def unit(nodeid: str) -> str:
    """Return the unit of work of a test: tests of a unit run in one worker, one after another.

    That is a file, whose tests share module fixtures (loaded models). The browser tests share one
    app and one Chromium, and those of APP two apps: they are one unit, the browser's two, so that
    nothing waits for them at the end.
    """
    file = nodeid.partition("::")[0]
    if file.startswith(BROWSER):
        return f"{BROWSER}{'first' if file < BROWSER_HALF else 'second'}"
    return APP if file.startswith(APP) else file


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in the order in which they are handed out.

    Units that take long come first, so that the workers end at about the same time.
    """
    slow = {unit(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> int:
        name = unit(item.nodeid)
        if name.startswith((BROWSER, APP)):
            return 0 if name.startswith(BROWSER) else 1
        return 2 if name in slow else 3 if name.startswith(HEAVY) else 4

    return sorted(items, key=rank)


class UnitScheduling(LoadScopeScheduling):
    """Hand out whole units, in the order of the collection, to the next free worker."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
