"""The tests of a file stay together, and the browser's in two halves."""

import os
from pathlib import Path

import pytest

from backends.paths import PROJECT
from tests import distribution


@pytest.mark.parametrize("folder", ["browser", "app"])
def test_a_file_is_a_unit_and_tests_that_share_an_app_stay_together(folder: str) -> None:
    assert distribution.unit("tests/ui/test_a.py::test_one[x::y]") == "tests/ui/test_a.py"
    files = (f"tests/{folder}/test_a.py::test_one", f"tests/{folder}/test_b.py::test_two")
    assert len({distribution.unit(file) for file in files}) == 1


def test_the_browser_tests_are_two_units() -> None:
    files = [file.relative_to(PROJECT) for file in (PROJECT / "tests/browser").glob("test_*.py")]
    units = [distribution.unit(f"{file.as_posix()}::test") for file in files]
    assert len(set(units)) == 2
    assert 0.3 < units.count(units[0]) / len(units) < 0.7


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 3), (64, distribution.MAX_WORKERS)])
def test_workers_are_one_more_than_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    def affinity(_: int) -> set[int]:
        return set(range(cores))

    monkeypatch.setattr(os, "sched_getaffinity", affinity, raising=False)
    assert distribution.worker_count(["tests"]) == workers


def test_named_files_need_no_worker(tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.touch()
    assert distribution.worker_count([f"{file}::test_one", str(file)]) == 0
    assert distribution.worker_count([str(file), str(tmp_path)]) > 0
