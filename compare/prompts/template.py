"""Parse prompts with variants. Pure.

    {red|blue|green}            one of them; {2::red|blue} makes red twice as likely
    {2$$red|blue|green}         two of them; {1-2$$ and $$red|blue} one or two, joined by " and "
    __colour__                  a line of the wildcard file colour.txt; * stands for any letters

Braces without a bar or `$$` are ordinary text, and so is everything else: `#`, `//`, `$` and `%`
have no meaning.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

MAX_DEPTH = 8
MAX_CHOSEN = 20
MAX_BRACES_AND_BARS = 600
SEPARATOR = ", "

_WILDCARD = re.compile(r"__((?:(?!__)[\w*./-])+)__")
_BOUNDS = re.compile(r"\s*(?:(\d{1,3})?(-)?(\d{1,3})?)\$\$(?:([^${}]*)\$\$)?")
_WEIGHT = re.compile(r"\s*(\d{1,4}(?:\.\d{1,4})?)::")


class BadVariants(ValueError):
    """The variants of a prompt cannot be read or drawn; `str(error)` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A line of one of the files whose names match."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """From `least` to `most` of the options, joined by `separator`."""

    options: tuple["Template", ...]
    weights: tuple[float, ...]
    least: int = 1
    most: int = 1
    separator: str = SEPARATOR


Part: TypeAlias = str | Wildcard | Choice
Template: TypeAlias = tuple[Part, ...]


def parse(text: str) -> Template:
    """Return the parts of `text`; a text without variants is one part.

    Raises:
        BadVariants: a brace of the variants has no partner, or they are too many or too deep.
    """
    reader = _Parser(text)
    parts = reader.sequence(0, len(text), 0)
    plain = all(isinstance(part, str) for part in parts)
    if reader.broken(even_without_a_bar=not plain):
        raise BadVariants(
            "A brace { or } of the variants has no partner. Write them like {red|blue}, or switch "
            "variants off to draw the prompt as it is."
        )
    if not plain and len(re.findall(r"[{|]", text)) > MAX_BRACES_AND_BARS:
        raise BadVariants(
            f"The variants have more than {MAX_BRACES_AND_BARS} braces and bars. Use fewer."
        )
    return parts


def holds_variants(text: str) -> bool:
    """Return whether `text` contains variants, valid or not."""
    try:
        return any(not isinstance(part, str) for part in parse(text))
    except BadVariants:
        return True


class _Parser:
    """Parses one text; the matching braces are found once, at the start."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._closing: dict[int, int] = {}
        opened: list[int] = []
        for at, letter in enumerate(text):
            if letter == "{":
                opened.append(at)
            elif letter == "}" and opened:
                self._closing[opened.pop()] = at

    def broken(self, *, even_without_a_bar: bool) -> bool:
        """Return whether an unmatched brace was meant for variants: a bar is on its open side."""
        letters: list[str] = []
        at = 0
        while at < len(self._text):
            closing = self._closing.get(at)
            if closing is None:
                letters.append(self._text[at])
            at = at + 1 if closing is None else closing + 1
        loose = "".join(letters)  # contains no { before a }
        if even_without_a_bar:
            return "{" in loose or "}" in loose
        return "|" in loose.partition("{")[2] or "|" in loose.rpartition("}")[0]

    def sequence(self, start: int, end: int, depth: int) -> Template:
        """Parse the text from `start` to `end`."""
        if depth > MAX_DEPTH:
            raise BadVariants(f"Variants may lie within variants up to {MAX_DEPTH} deep.")
        parts: list[Part] = []
        said = at = start
        while at < end:
            part, after = self._part(at, end, depth)
            if part is None:
                at = after
                continue
            if at > said:
                parts.append(self._text[said:at])
            parts.append(part)
            said = at = after
        if end > said:
            parts.append(self._text[said:end])
        return tuple(parts)

    def _part(self, at: int, end: int, depth: int) -> tuple[Part | None, int]:
        """Return the part that begins at `at`, None for plain text, and the position after it."""
        if self._text[at] == "_" and (found := _WILDCARD.match(self._text, at, end)):
            return Wildcard(found[1]), found.end()
        closing = self._closing.get(at)
        if self._text[at] == "{" and closing is not None and closing < end:
            choice = self._choice(at + 1, closing, depth)
            return choice, at + 1 if choice is None else closing + 1
        return None, at + 1

    def _choice(self, start: int, end: int, depth: int) -> Choice | None:
        bounds = _BOUNDS.match(self._text, start, end)
        if bounds is not None and bounds[1] is None and bounds[3] is None:
            bounds = None
        start = bounds.end() if bounds else start
        bars = list(self._bars(start, end))
        if not bars and bounds is None:
            return None
        edges = zip([start, *(bar + 1 for bar in bars)], [*bars, end], strict=True)
        parsed = [self._option(left, right, depth) for left, right in edges]
        options = tuple(option for _, option in parsed)
        least, most = _range(bounds, len(options))
        separator = bounds[4] if bounds and bounds[4] is not None else SEPARATOR
        return Choice(options, tuple(weight for weight, _ in parsed), least, most, separator)

    def _bars(self, start: int, end: int) -> Iterator[int]:
        """Yield the positions of the bars that are not within a nested group."""
        at = start
        while at < end:
            if self._text[at] == "{" and self._closing.get(at, end) < end:
                at = self._closing[at]
            elif self._text[at] == "|":
                yield at
            at += 1

    def _option(self, start: int, end: int, depth: int) -> tuple[float, Template]:
        weight = _WEIGHT.match(self._text, start, end)
        start = weight.end() if weight else start
        while start < end and self._text[start].isspace():
            start += 1
        while start < end and self._text[end - 1].isspace():
            end -= 1
        if weight and not float(weight[1]):
            raise BadVariants("A weight of 0 is never chosen. Leave that option out.")
        return float(weight[1]) if weight else 1.0, self.sequence(start, end, depth + 1)


def count_arrangements(options: Sequence[int], least: int, most: int) -> int:
    """Return the number of ordered selections of `least` to `most` options.

    `options` has the number of variants of each option.
    """
    most = min(most, len(options))
    sums = [1, *[0] * most]
    for each in options:
        for k in range(most, 0, -1):
            sums[k] += each * sums[k - 1]
    return sum(sums[k] * math.factorial(k) for k in range(least, most + 1))


def _range(bounds: re.Match[str] | None, options: int) -> tuple[int, int]:
    if bounds is None:
        return 1, 1
    first, dash, last = bounds[1], bounds[2], bounds[3]
    if not dash:
        first = last = first or last
    least, most = sorted((int(first or 1), int(last or options)))
    if least > MAX_CHOSEN:
        raise BadVariants(f"At most {MAX_CHOSEN} options can be chosen at once.")
    return least, min(most, MAX_CHOSEN)
