"""Expand a prompt with variants into its prompts: all of them, or a random sample. Pure.

`template.py` parses the variants, the `dynamicprompts` package samples them. The package receives
only the structure of the prompt, with one private-use character for each piece of text: in real
text it takes `#` and `//` for comments, fails at `$` and `%`, and loops for ever on a missing
wildcard.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from math import prod
from random import Random
from threading import Lock
from typing import Any

from compare.prompts.template import (
    BadVariants,
    Choice,
    Part,
    Template,
    Wildcard,
    count_arrangements,
    parse,
)
from compare.records import RunSpec

MOST = 24
"""Maximum number of prompts from one template: each is a separate run and may cost money."""

Wildcards = Mapping[str, Sequence[str]]

_MAX_ENUMERATED = 1_000  # as many as can be enumerated in a second
_TRIES_PER_PROMPT = 50
# The package's parser inspects its own functions at its first use, which is not thread-safe.
_LOCK = Lock()
_FIRST, _LAST = 0xF0000, 0x10FFFD  # planes for private use
_PLACEHOLDER = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]|<\\d+>")


def expand(
    text: str, wildcards: Wildcards, *, most: int | None = None, seed: int = 0
) -> tuple[str, ...]:
    """Return the distinct prompts of `text`: all, or a random sample of `most`.

    The same seed gives the same sample. A text without variants is its only prompt.

    Raises:
        BadVariants: the variants cannot be read, or there are more than `MOST`.
    """
    if most is not None and not 1 <= most <= MOST:
        raise BadVariants(f"The number of variants must be between 1 and {MOST}.")
    parts = parse(text)
    if all(isinstance(part, str) for part in parts):
        return (text,)
    compiler = _Compiler(wildcards)
    written, number = compiler.row(parts, ())
    if most is None and number > _MAX_ENUMERATED:
        raise _too_many(number)
    with _LOCK:
        return _choose(compiler, written, number, most, seed)


def _choose(
    compiler: "_Compiler", written: str, number: int, most: int | None, seed: int
) -> tuple[str, ...]:
    if most is not None and number > _MAX_ENUMERATED:
        return compiler.some(written, most, seed)
    prompts = compiler.all(written)
    if most is None and len(prompts) > MOST:
        raise _too_many(len(prompts))
    if most is None or len(prompts) <= most:
        return prompts
    return tuple(dict.fromkeys([*compiler.some(written, most, seed), *prompts]))[:most]


def spread(spec: RunSpec, wildcards: Wildcards, *, most: int | None = None) -> tuple[RunSpec, ...]:
    """Return a spec for each variant of the prompt, with everything else the same.

    Each records the prompt's template; a spec without variants is returned unchanged.

    Raises:
        BadVariants: the variants cannot be read, or there are more than `MOST`.
    """
    text = spec.request.prompt
    prompts = expand(text, wildcards, most=most, seed=spec.request.seed or 0)
    if prompts == (text,):
        return (spec,)
    provenance = replace(spec.provenance, template=text)
    return tuple(
        replace(spec, request=replace(spec.request, prompt=prompt), provenance=provenance)
        for prompt in prompts
    )


@dataclass(frozen=True, slots=True)
class _CompiledWildcard:
    """The lines of a wildcard in the package's syntax, and the number of variants of each."""

    name: str
    lines: list[str]
    numbers: list[int]


@dataclass(slots=True)
class _Compiler:
    """Translates templates into the package's syntax, and counts their variants."""

    wildcards: Wildcards
    texts: dict[str, str] = field(default_factory=dict[str, str])
    separators: dict[str, str] = field(default_factory=dict[str, str])
    lists: dict[str, _CompiledWildcard] = field(default_factory=dict[str, _CompiledWildcard])

    def row(self, parts: Template, within: tuple[str, ...]) -> tuple[str, int]:
        """Return the text of a template and its number of variants.

        `within` names the wildcards around it, to detect cycles.
        """
        written = [self._part(part, within) for part in parts] or [(self._text(""), 1)]
        return "".join(words for words, _ in written), prod(number for _, number in written)

    def all(self, written: str) -> tuple[str, ...]:
        """Return every prompt of a compiler that has few, each once."""
        try:
            return tuple(dict.fromkeys(self._sample(written, None)))
        except RuntimeError as error:  # raised by the package if a choice has no variant at all
            raise BadVariants(
                "The variants ask for more different options than there are: {2$$red|red}."
            ) from error

    def some(self, written: str, most: int, seed: int) -> tuple[str, ...]:
        """Return `most` distinct random prompts, fewer if a limited number of tries is used up."""
        found: dict[str, None] = {}
        for prompt in islice(self._sample(written, seed), most * _TRIES_PER_PROMPT):
            found[prompt] = None
            if len(found) == most:
                break
        return tuple(found)

    def _sample(self, written: str, seed: int | None) -> Iterator[str]:
        from dynamicprompts.enums import SamplingMethod
        from dynamicprompts.sampling_context import SamplingContext
        from dynamicprompts.wildcards import WildcardManager

        method = SamplingMethod.COMBINATORIAL if seed is None else SamplingMethod.RANDOM
        lists: dict[str, Any] = {each.name: each.lines for each in self.lists.values()}
        manager = WildcardManager(root_map={"": [lists]})
        manager.sort_wildcards = False
        context = SamplingContext(method, manager, rand=Random(seed))
        said = {letter: text for text, letter in [*self.texts.items(), *self.separators.items()]}
        for result in context.sample_prompts(written):
            yield _PLACEHOLDER.sub(lambda match: said[match[0]], str(result))

    def _part(self, part: Part, within: tuple[str, ...]) -> tuple[str, int]:
        match part:
            case str():
                return self._text(part), 1
            case Wildcard():
                listed = self._list(part.name, within)
                return f"__{listed.name}__", sum(listed.numbers)
            case Choice():
                return self._choice(part, within)

    def _choice(self, choice: Choice, within: tuple[str, ...]) -> tuple[str, int]:
        match choice.options:
            case ((Wildcard(name=name),),):  # several lines of one wildcard
                listed = self._list(name, within)
                options, numbers = f"__{listed.name}__", listed.numbers
            case _:
                rows = [self.row(option, within) for option in choice.options]
                weights: dict[str, float] = {}
                for weight, (words, _) in zip(choice.weights, rows, strict=True):
                    weights[words] = weights.get(words, 0) + weight
                options = "|".join(f"{weights[words]:f}::{words}" for words in weights)
                numbers = list(dict(rows).values())
        # The package accepts only ASCII separators.
        separator = self.separators.setdefault(choice.separator, f"<{len(self.separators)}>")
        written = f"{{{choice.least}-{choice.most}$${separator}$${options}}}"
        return written, count_arrangements(numbers, choice.least, choice.most)

    def _text(self, text: str) -> str:
        letter = _FIRST + len(self.texts)
        if letter > _LAST:
            raise BadVariants("The wildcards of this prompt hold too many lines.")
        return self.texts.setdefault(text, chr(letter))

    def _list(self, name: str, within: tuple[str, ...]) -> _CompiledWildcard:
        if name in within:
            way = " → ".join(f"__{each}__" for each in (*within[within.index(name) :], name))
            raise BadVariants(f"A wildcard includes itself: {way}. Take it out of its file.")
        if name not in self.lists:
            rows = [self._line(line, name, within) for line in self._lines(name)]
            lines, numbers = [words for words, _ in rows], [number for _, number in rows]
            self.lists[name] = _CompiledWildcard(f"w{len(self.lists)}", lines, numbers)
        return self.lists[name]

    def _line(self, line: str, name: str, within: tuple[str, ...]) -> tuple[str, int]:
        try:
            parts = parse(line)
        except BadVariants as error:
            raise BadVariants(f"In a line of the wildcard __{name}__: {error}") from None
        return self.row(parts, (*within, name))

    def _lines(self, name: str) -> list[str]:
        """Return the distinct lines of all files that match a wildcard's name."""
        fitting = [known for known in self.wildcards if fnmatchcase(known, name)]
        if not fitting:
            raise BadVariants(_missing(name, self.wildcards))
        lines = dict.fromkeys(line for known in fitting for line in self.wildcards[known])
        if not lines:
            raise BadVariants(
                f"The wildcard __{name}__ is empty. Write one choice on each line of its file."
            )
        return list(lines)


def _missing(name: str, wildcards: Wildcards) -> str:
    known = ", ".join(f"__{each}__" for each in sorted(wildcards)[:20])
    there = f"There are {known}. " if known else ""
    return (
        f"There is no wildcard __{name}__. {there}A file {name}.txt in the folder wildcards of "
        "Lineup's data folder makes one; switch variants off to draw the prompt as it is."
    )


def _too_many(number: int) -> BadVariants:
    told = f"{number:,}" if number < 1_000_000 else "more than a million"
    return BadVariants(
        f"This prompt has {told} variants; {MOST} is the most. Take some out, or choose "
        "a few at random."
    )
