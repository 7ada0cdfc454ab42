"""Build the command for Midjourney that a person pastes into Discord."""

import math
import re
import secrets
from dataclasses import dataclass, replace
from typing import Any, Final

from backends.base import Applied, Model, Request
from backends.errors import BadInput
from backends.fit import fit
from backends.options import option
from backends.prompt_syntax import Syntax

SYNTAX: Final = frozenset({Syntax.MIDJOURNEY})
"""The notations in prompts that it understands."""

SEED_LIMIT = 2**32
"""Seeds are smaller than this."""

_RESERVED_PARAMETERS = re.compile(
    r"(?<!\S)(?:--|—)(?:seed|ar|aspect|v|version|niji|no|repeat|r)\b", re.IGNORECASE
)
_FIRST_PARAMETER = re.compile(r"(?<!\S)(?:--|—)[a-z]", re.IGNORECASE)
_LINKS = re.compile(r"<?https?://[^\s>]+>?", re.IGNORECASE)
_MAX_VALUES = {"stylize": 1000, "chaos": 100}


SPEEDS: Final = ("", "fast", "relax", "turbo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of this backend; the form is made from the fields."""

    stylize: int = option(100, label="Stylize", help="0 follows the prompt, 1000 is free with it.")
    chaos: int = option(0, label="Chaos", help="0 to 100: how much the four pictures differ.")
    raw: bool = option(False, label="Raw", help="Less of Midjourney's own taste.")
    speed: str = option(
        "",
        label="Speed",
        help="Empty leaves it to your settings at Midjourney.",
        choices=SPEEDS,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command as it is pasted, and what identifies it in Midjourney's messages."""

    text: str
    prompt: str
    seed: int
    version: str
    request: Request
    honoured: dict[str, Applied]


def build_command(model: Model, request: Request) -> Command:
    """Translate `request` into an `/imagine` command.

    A seed is always named: Midjourney repeats it in its messages, which identifies them.

    Raises:
        BadInput: Midjourney would reject the prompt or a value, or read it as something else.
    """
    options, honoured = _parse_options(request)
    prompt = " ".join(request.prompt.split())
    result = fit(model, replace(request, prompt=prompt), syntax=SYNTAX)
    fitted, prompt = result.request, result.request.prompt
    if found := _RESERVED_PARAMETERS.search(prompt):
        raise BadInput(
            f"Take {found[0]} out of the prompt: seed, shape, version and number are set by "
            "Lineup's own fields."
        )
    if "{" in prompt or "}" in prompt:
        raise BadInput(
            "Midjourney draws one grid for each choice in {braces}, and counts each. "
            "Take the braces out of the prompt."
        )
    seed = fitted.seed if fitted.seed is not None else secrets.randbelow(SEED_LIMIT)
    if not 0 <= seed < SEED_LIMIT:
        raise BadInput(f"Midjourney takes seeds from 0 to {SEED_LIMIT - 1}; not {seed}.")
    parts = [f"/imagine prompt: {prompt}", f"--ar {_aspect_ratio(fitted)}", f"--seed {seed}"]
    if fitted.negative_prompt:
        parts.append(f"--no {' '.join(fitted.negative_prompt.split())}")
    for name in _MAX_VALUES:
        value = getattr(options, name)
        if value != getattr(Options(), name):
            parts.append(f"--{name} {value}")
    if options.raw:
        parts.append("--raw")
    if options.speed:
        parts.append(f"--{options.speed}")
    parts.append(model.source)
    return Command(
        text=" ".join(parts),
        prompt=prompt,
        seed=seed,
        version=model.source,
        request=request,
        honoured=result.honoured | honoured,
    )


def plain_words(prompt: str) -> str:
    """Return the words of a prompt, which identify it where a message names no seed.

    Midjourney adds and reorders parameters, shortens links and spaces, and Discord escapes markup.
    """
    parameters = _FIRST_PARAMETER.search(prompt)
    words = prompt[: parameters.start()] if parameters else prompt
    return " ".join(re.findall(r"[^\W_]+", _LINKS.sub("link", words).casefold()))


def _parse_options(request: Request) -> tuple[Options, dict[str, Applied]]:
    values: dict[str, Any] = {}
    honoured: dict[str, Applied] = {}
    for name, value in request.options.get("midjourney", {}).items():
        if value in (None, ""):
            continue
        if name in _MAX_VALUES:
            values[name] = _parse_integer(name, value, _MAX_VALUES[name])
        elif name == "raw":
            values[name] = bool(value)
        elif name == "speed":
            if value not in SPEEDS:
                raise BadInput(f"speed must be fast, relax or turbo; not {value}.")
            values[name] = value
        else:
            note = f"{name} ignored: Midjourney has no such option"
            honoured[name] = Applied(value, None, note)
            continue
        if values[name] != getattr(Options(), name):
            honoured[name] = Applied(value, values[name])
    return Options(**values), honoured


def _parse_integer(name: str, value: object, maximum: int) -> int:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not (number.is_integer() and 0 <= number <= maximum):
        raise BadInput(f"{name} must be a whole number from 0 to {maximum}; not {value}.")
    return int(number)


def _aspect_ratio(request: Request) -> str:
    width, height = request.width or 1, request.height or 1
    common = math.gcd(width, height)
    return f"{width // common}:{height // common}"
