"""Read untrusted JSON: each function accepts any value and returns one of the expected type.

A value of another type is read as empty, zero or None, so that a malformed response ends in the
caller's error sentence and not in a `TypeError`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, cast

MAX_VALUES: Final = 500_000
"""Values of a JSON text, each of which takes up to 200 bytes of memory. The queue of a ComfyUI
server with a hundred large workflows has a tenth of that."""


def loads(body: str | bytes, **options: Any) -> Any:
    """Parse JSON of at most `MAX_VALUES` values; slow for a large text, call it in a thread.

    `options` are those of `json.loads`. Its nesting is limited too, by the interpreter.

    Raises:
        ValueError: it is not JSON, has more values or is nested too deep.
    """
    # Each value but the first of its container follows a comma, each container has its bracket.
    signs = (",", "[", "{") if isinstance(body, str) else (b",", b"[", b"{")
    if sum(map(body.count, signs)) > MAX_VALUES:  # pyright: ignore[reportArgumentType]
        raise ValueError("too many values")
    try:
        return json.loads(body, **options)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def mapping(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, an empty mapping otherwise."""
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return `value` if it is a JSON array, an empty list otherwise."""
    return cast(list[Any], value) if isinstance(value, list) else []


def objects(value: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects of an array; other elements are left out."""
    return [cast(Mapping[str, Any], each) for each in items(value) if isinstance(each, dict)]


def text(value: object) -> str | None:
    """Return `value` if it is a non-empty string, None otherwise."""
    return value if isinstance(value, str) and value else None


def number(value: object) -> float | None:
    """Return `value` as a float if it is a finite number, None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: object) -> int:
    """Return `value` if it is a whole number of zero or more, 0 otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return max(value, 0)
