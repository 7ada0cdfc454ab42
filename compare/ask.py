"""From words on the command line to a request; what cannot be read is a sentence."""

import sys
from collections.abc import Sequence
from pathlib import Path

from backends.base import Control, Value


class BadWord(ValueError):
    """A word on the command line cannot be read; `str(error)` says which and why."""


def prompt(word: str) -> str:
    """Return the prompt; "-" reads it from standard input."""
    return sys.stdin.read().strip("\n") if word == "-" else word


def size(word: str | None) -> tuple[int | None, int | None]:
    """Read WIDTHxHEIGHT."""
    if word is None:
        return (None, None)
    width, _, height = word.lower().replace("×", "x").partition("x")
    try:
        return (int(width), int(height))
    except ValueError:
        raise BadWord(f"The size {word!r} must look like 1024x768.") from None


def control(
    file: Path | None, *, preprocessor: str, weight: float, start: float, end: float
) -> Control | None:
    """Read a control picture."""
    if file is None:
        return None
    try:
        image = file.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise BadWord(f"The control picture {file} cannot be read: {reason}.") from None
    return Control(image=image, preprocessor=preprocessor, weight=weight, start=start, end=end)


def options(words: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Read settings of the form backend.name=value."""
    found: dict[str, dict[str, Value]] = {}
    for word in words:
        place, equals, value = word.partition("=")
        backend, dot, name = place.partition(".")
        if not (equals and dot and backend and name):
            raise BadWord(f"The option {word!r} must look like openai.quality=high.")
        found.setdefault(backend, {})[name] = _value(value)
    return found


def _value(word: str) -> Value:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return word
