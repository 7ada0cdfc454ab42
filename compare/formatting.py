"""Costs, durations, dates and states as text for the command line, the pages and the README."""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from backends.base import Basis, Status
from backends.model import State
from compare.records import Cost


def format_cost(cost: Cost) -> str:
    """Return a cost as one word or amount: its amount, else its range, else "unknown"."""
    if cost.amount is not None:
        if cost.amount == 0:
            return "free" if cost.basis is Basis.FREE else "not charged"
        return format_dollars(cost.amount, digits=4)
    if cost.low is None or cost.high is None:
        return "unknown"
    return format_range(cost.low, cost.high)


def format_spent(cost: Cost) -> str:
    """Return the cost of a finished job: a range that was expected is not what it cost."""
    expected = format_cost(cost)
    if cost.amount is not None or expected == "unknown":
        return expected
    return f"unknown ({'' if '–' in expected else 'about '}{expected})"


def format_range(low: Decimal, high: Decimal) -> str:
    """Return a range of dollars such as "$0.20–1.25", one amount if both ends round to the same."""
    first, last = format_dollars(low), format_dollars(high)
    if first == last:
        return first
    digits = max(len(text.partition(".")[2]) for text in (first, last))
    return f"{_padded(first, digits)}–{_padded(last, digits).removeprefix('$')}"


def format_dollars(amount: Decimal, *, digits: int = 3) -> str:
    """Return an amount in USD, rounded to at most `digits` decimals.

    Trailing zeros are left out, except that cents have two digits. An amount that would round
    to zero is "<$0.001".
    """
    if amount == 0:
        return "$0"
    if 0 < amount < Decimal(5).scaleb(-digits - 1):
        return f"<${Decimal(1).scaleb(-digits)}"
    rounded = amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)
    text = f"{rounded:f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}" if cents else f"${whole}"


def format_seconds(seconds: float | None) -> str:
    """Return a duration such as "2.9 s", without decimals from 100 s on, a dash if unknown."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def format_date(day: date, *, full_month: bool = False) -> str:
    """Return a date such as "12 May 2026"; the month in three letters or in full."""
    return f"{day.day} {day:{'%B' if full_month else '%b'} %Y}"


def format_status(status: Status) -> str:
    """Return a model's state such as "live", "retired 12 May 2026" or "no public API"."""
    if status.date and status.state is not State.LIVE:
        return f"{status.state.value} {format_date(status.date)}"
    return status.state.value


def _padded(dollars: str, digits: int) -> str:
    whole, _, cents = dollars.partition(".")
    return f"{whole}.{cents:0<{digits}}" if digits else whole
