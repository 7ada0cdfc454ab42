"""Parse command line arguments into a request; errors are sentences for the user."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from backends.base import Control, Value
from backends.registry import UnknownBackend, options_of
from compare.prompts.template import BadVariants
from compare.prompts.variants import spread
from compare.prompts.wildcards import Folder
from compare.records import RunSpec, SecondStep

Setting = TypeVar("Setting")


class BadArgument(ValueError):
    """A command line argument is invalid; `str(error)` says which and why."""


def read_prompt(word: str) -> str:
    """Return the prompt; "-" reads it from standard input."""
    return sys.stdin.read().strip("\n") if word == "-" else word


def parse_size(word: str | None) -> tuple[int | None, int | None]:
    """Parse WIDTHxHEIGHT."""
    if word is None:
        return (None, None)
    width, _, height = word.lower().replace("×", "x").partition("x")
    try:
        return (int(width), int(height))
    except ValueError:
        raise BadArgument(f"The size {word!r} must look like 1024x768.") from None


def expand_variants(word: str | None, spec: RunSpec, home: Path) -> tuple[RunSpec, ...]:
    """Return a spec for each variant of the prompt: for all, or for a random number of them."""
    if word is None:
        return (spec,)
    if word != "all" and not word.isdecimal():
        raise BadArgument(f"The variants {word!r} must be all, or how many of them at random.")
    try:
        return spread(spec, Folder(home), most=None if word == "all" else int(word))
    except BadVariants as error:
        raise BadArgument(str(error)) from None


def read_start_picture(file: Path | None) -> bytes | None:
    """Read the file of the start picture."""
    return None if file is None else _file(file, "start picture")


def parse_second_step(
    model: str | None, *, prompt: str, strength: float | None, own: Sequence[str]
) -> SecondStep | None:
    """Return the second step, None if no model is given for it."""
    if model is None:
        if prompt or own:
            raise BadArgument(
                "A prompt or an option of the second step needs its model: --then MODEL."
            )
        return None
    return SecondStep(model=model, prompt=prompt, strength=strength, options=parse_options(own))


def read_controls(
    files: Sequence[Path],
    *,
    preprocessor: Sequence[str],
    weight: Sequence[float],
    start: Sequence[float],
    end: Sequence[float],
) -> tuple[Control, ...]:
    """Read the control pictures; a setting given once applies to all, else one applies to each."""
    number = len(files)
    each = zip(
        files,
        _for_each("preprocessor", preprocessor, number),
        _for_each("weight", weight, number),
        _for_each("start", start, number),
        _for_each("end", end, number),
        strict=True,
    )
    return tuple(
        Control(
            image=_file(file, "control picture"), preprocessor=name, weight=by, start=at, end=to
        )
        for file, name, by, at, to in each
    )


def parse_options(words: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Parse options of the form backend.name=value, each as the type that its backend declares.

    The value of an option that is declared nowhere is what it looks like; its backend names it as
    unknown.
    """
    found: dict[str, dict[str, Value]] = {}
    for word in words:
        place, equals, value = word.partition("=")
        backend, dot, name = place.partition(".")
        if not (equals and dot and backend and name):
            raise BadArgument(f"The option {word!r} must look like openai.quality=high.")
        found.setdefault(backend, {})[name] = _value(value, _default(backend, name), place)
    return found


def _for_each(name: str, given: Sequence[Setting], number: int) -> Sequence[Setting]:
    if len(given) not in (1, number):
        raise BadArgument(
            f"--{name} is given {len(given)} times for {number} control pictures. Give it once for "
            "all of them, or once for each, in the same order."
        )
    return given if len(given) == number else [given[0]] * number


def _file(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise BadArgument(f"The {name} {file} cannot be read: {reason}.") from None


def _default(backend: str, name: str) -> Value:
    """Return the default of a declared option, None for any other."""
    try:
        declared = options_of(backend)
    except UnknownBackend:
        return None
    defaults = {field.name: field.default for field in fields(declared)} if declared else {}
    default: Any = defaults.get(name)
    return default


def _value(word: str, default: Value, place: str) -> Value:
    """Return `word` as a value of the type of `default`; a text stays as it is written.

    Raises:
        BadArgument: it is of another type.
    """
    if isinstance(default, str) or not word:
        return word  # a file may be called 007, 1e5 or true
    truth = {"true": True, "false": False}.get(word.lower())
    number = _number(word)
    match default:
        case bool() if truth is None:
            raise BadArgument(f"The option {place} must be true or false; not {word}.")
        case bool():
            return truth
        case int() | float() if number is None:
            raise BadArgument(f"The option {place} must be a number; not {word}.")
        case int() | float():
            return number
        case _:
            as_written = number is not None and str(number) == word
            return truth if truth is not None else number if as_written else word


def _number(word: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None
