from datetime import date
from decimal import Decimal

import pytest

from backends.base import Basis, State, Status
from compare.formatting import format_cost, format_seconds, format_spent, format_status
from compare.records import Cost

D = Decimal


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(low=D("0.00588"), high=D("0.01317")), "$0.006–0.013"),
        (Cost(low=D("0.02"), high=D("0.02")), "$0.02"),
        (Cost(low=D("0.2"), high=D("1.25")), "$0.20–1.25"),
        (Cost(low=D("0.021"), high=D("0.04")), "$0.021–0.040"),
        (Cost(low=D("0.5"), high=D("2")), "$0.50–2.00"),
        (Cost(amount=D("0.01234567")), "$0.0123"),
        (Cost(amount=D("12")), "$12"),
        (Cost(amount=D("0.00001")), "<$0.0001"),
        (Cost(), "unknown"),
        (Cost(amount=D(0), basis=Basis.USAGE), "not charged"),
    ],
)
def test_words(cost: Cost, words: str):
    assert format_cost(cost) == words


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(low=D("0.006"), high=D("0.013")), "unknown ($0.006–0.013)"),
        (Cost(low=D("0.02"), high=D("0.02")), "unknown (about $0.02)"),
        (Cost(), "unknown"),
        (Cost(amount=D("0.02"), low=D("0.01"), high=D("0.03")), "$0.02"),
        (Cost(amount=D(0)), "not charged"),
    ],
)
def test_what_was_expected_is_not_what_was_spent(cost: Cost, words: str):
    assert format_spent(cost) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.04, "0.0 s"), (2.94, "2.9 s"), (99.94, "99.9 s"), (100.4, "100 s")],
)
def test_seconds(seconds: float | None, words: str):
    assert format_seconds(seconds) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(), "live"),
        (Status(date=date(2026, 5, 2)), "live"),
        (Status(state=State.RETIRED, date=date(2026, 5, 2)), "retired 2 May 2026"),
        (Status(state=State.NO_API), "no public API"),
    ],
)
def test_status(status: Status, words: str):
    assert format_status(status) == words
