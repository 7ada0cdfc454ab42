"""Clean what a backend reports, before it is stored, shown, or used to compute anything.

A hostile or broken service can send any text and any number: half surrogate pairs, which neither
the database nor JSON can hold, control characters, megabytes; NaN, infinity, numbers of a thousand
digits, negative times. What no service can mean is left out: unknown is better than wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from typing import Final

from backends.base import (
    Applied,
    Event,
    Loading,
    Picture,
    Preview,
    Progress,
    Queued,
    Receipt,
    Value,
)
from compare.redaction import Hide, clean_text

MAX_TEXT: Final = 50_000
"""Characters of a text that may hold a prompt."""
MAX_ENTRIES: Final = 200
MAX_HONOURED_TEXT: Final = 150_000
"""Characters of all that one receipt says of the inputs."""
_MAX_COUNT = 10**12
_MAX_SEED = 2**63 - 1
"""The largest number that a column of the database holds."""
_MAX_SECONDS = 10.0**7
_MAX_DOLLARS = Decimal(10**5)
_MAX_DIGITS = 30
_PREVIEWS = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


def clean_event(event: Event, hide: Hide) -> Event:
    """Return an event whose texts and numbers can be stored and shown."""
    match event:
        case Queued():
            command = clean_text(event.command, hide, MAX_TEXT)
            return replace(event, message=clean_text(event.message, hide), command=command)
        case Loading():
            return replace(event, message=clean_text(event.message, hide))
        case Progress():
            return replace(
                event,
                message=clean_text(event.message, hide),
                step=_count(event.step),
                steps=_count(event.steps) or None,
                preview=_preview(event.preview),
            )
        case Picture():
            return replace(event, seed=_count(event.seed, _MAX_SEED))
        case Receipt():
            return replace(
                event,
                honoured=clean_honoured(event.honoured, hide),
                usage=_usage(event.usage),
                charged=_dollars(event.charged),
                monthly=_dollars(event.monthly),
                queued=_seconds(event.queued),
                load=_seconds(event.load),
                generate=_seconds(event.generate),
                download=_seconds(event.download),
            )
        case _:
            return event


def clean_honoured(honoured: Mapping[str, Applied], hide: Hide) -> dict[str, Applied]:
    """Return `honoured` with clean names, values and notes; entries beyond a limit are dropped."""
    cleaned: dict[str, Applied] = {}
    left = MAX_HONOURED_TEXT
    for name, applied in islice(honoured.items(), MAX_ENTRIES):
        entry = Applied(
            _value(applied.requested, hide),
            _value(applied.used, hide),
            clean_text(applied.note, hide),
        )
        left -= sum(len(str(each)) for each in (entry.requested, entry.used, entry.note))
        if left < 0:
            break
        cleaned[clean_text(name, hide, 100)] = entry
    return cleaned


def _value(value: Value, hide: Hide) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**64 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean_text(value, hide, MAX_TEXT)


def _count(value: object, most: int = _MAX_COUNT) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= most else None


def _usage(usage: Mapping[str, int]) -> Mapping[str, int]:
    """Return the counters; none if one of them is no count, as the amount is unknown then."""
    strange = len(usage) > MAX_ENTRIES or any(_count(each) is None for each in usage.values())
    return {} if strange else usage


def _seconds(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= _MAX_SECONDS else None


def _dollars(value: Decimal | None) -> Decimal | None:
    if value is None or not value.is_finite() or not 0 <= value <= _MAX_DOLLARS:
        return None
    # The database and the page write every digit: of 1E-999999, a million.
    _, digits, exponent = value.as_tuple()
    exact = len(digits) <= _MAX_DIGITS and isinstance(exponent, int) and exponent >= -_MAX_DIGITS
    return value if exact else round(value, 9)


def _preview(preview: Preview | None) -> Preview | None:
    return preview if preview is not None and preview.media_type in _PREVIEWS else None
