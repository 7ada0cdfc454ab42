"""The tests that docs/security.md names for its promises exist."""

import re

import pytest

from backends.paths import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text("utf-8")


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE))))
def test_a_promise_has_its_test(named: str) -> None:
    file, _, test = named.partition("::")
    path = PROJECT / file
    assert path.exists()
    assert not test or f"def {test}(" in path.read_text("utf-8")


def test_every_promise_names_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 3]
    promises = [row for row in rows if "`tests/" in row]
    assert len(promises) >= 20
    assert len(rows) - len(promises) == 2, "the two heads of the tables"
