"""The prompts that a prompt with variants stands for: all of them, or some at random. Pure.

`template.py` reads the variants, the `dynamicprompts` package draws them. What the package
is handed is not the prompt but its bare structure, with one letter for each piece of text: left to
itself it takes `#` and `//` for comments, stumbles over `$` and `%`, and goes round for ever in a
wildcard that is missing.
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

from compare.prompts.template import BadVariants, Choice, Part, Row, Wildcard, read, ways
from compare.records import RunSpec

MOST = 24
"""How many prompts are made of one at most: each is a run of its own, and may cost money."""

Wildcards = Mapping[str, Sequence[str]]

_ENOUGH = 1_000  # so many can be made in a second
_TRIES = 50
# The package's parser finds out how to call its own functions while it is first used.
_ONE_AT_A_TIME = Lock()
_FIRST, _LAST = 0xF0000, 0x10FFFD  # planes for private use
_STANDING = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]|<\\d+>")


def expand(
    text: str, wildcards: Wildcards, *, most: int | None = None, seed: int = 0
) -> tuple[str, ...]:
    """Return the prompts of `text`, each once: all, or `most` of them at random.

    The same seed chooses the same ones. A text without variants is its only prompt.

    Raises:
        BadVariants: the variants cannot be read, or there are more than `MOST`.
    """
    if most is not None and not 1 <= most <= MOST:
        raise BadVariants(f"The number of variants must be between 1 and {MOST}.")
    parts = read(text)
    if all(isinstance(part, str) for part in parts):
        return (text,)
    script = _Script(wildcards)
    written, number = script.row(parts, ())
    if most is None and number > _ENOUGH:
        raise _too_many(number)
    with _ONE_AT_A_TIME:
        return _drawn(script, written, number, most, seed)


def _drawn(
    script: "_Script", written: str, number: int, most: int | None, seed: int
) -> tuple[str, ...]:
    if most is not None and number > _ENOUGH:
        return script.some(written, most, seed)
    prompts = script.all(written)
    if most is None and len(prompts) > MOST:
        raise _too_many(len(prompts))
    if most is None or len(prompts) <= most:
        return prompts
    return tuple(dict.fromkeys([*script.some(written, most, seed), *prompts]))[:most]


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
class _List:
    """The lines of a wildcard as the package gets them, and what each can become."""

    name: str
    lines: list[str]
    numbers: list[int]


@dataclass(slots=True)
class _Script:
    """Writes parts in the package's language, and counts what they can become."""

    wildcards: Wildcards
    texts: dict[str, str] = field(default_factory=dict[str, str])
    joints: dict[str, str] = field(default_factory=dict[str, str])
    lists: dict[str, _List] = field(default_factory=dict[str, _List])

    def row(self, parts: Row, within: tuple[str, ...]) -> tuple[str, int]:
        """Write parts that follow each other; `within` names the wildcards around them."""
        written = [self._part(part, within) for part in parts] or [(self._text(""), 1)]
        return "".join(words for words, _ in written), prod(number for _, number in written)

    def all(self, written: str) -> tuple[str, ...]:
        """Return every prompt of a script that has few, each once."""
        try:
            return tuple(dict.fromkeys(self._sample(written, None)))
        except RuntimeError as error:  # so the package ends where a choice has no way at all
            raise BadVariants(
                "The variants ask for more different options than there are: {2$$red|red}."
            ) from error

    def some(self, written: str, most: int, seed: int) -> tuple[str, ...]:
        """Return `most` different prompts; fewer where that many are hard to find by chance."""
        found: dict[str, None] = {}
        for prompt in islice(self._sample(written, seed), most * _TRIES):
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
        said = {letter: text for text, letter in [*self.texts.items(), *self.joints.items()]}
        for result in context.sample_prompts(written):
            yield _STANDING.sub(lambda match: said[match[0]], str(result))

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
            case ((Wildcard(name=name),),):  # so many of its lines
                listed = self._list(name, within)
                options, numbers = f"__{listed.name}__", listed.numbers
            case _:
                rows = [self.row(option, within) for option in choice.options]
                weights: dict[str, float] = {}
                for weight, (words, _) in zip(choice.weights, rows, strict=True):
                    weights[words] = weights.get(words, 0) + weight
                options = "|".join(f"{weights[words]:f}::{words}" for words in weights)
                numbers = list(dict(rows).values())
        # The package takes nothing but ASCII between two options.
        joint = self.joints.setdefault(choice.joint, f"<{len(self.joints)}>")
        written = f"{{{choice.least}-{choice.most}$${joint}$${options}}}"
        return written, ways(numbers, choice.least, choice.most)

    def _text(self, text: str) -> str:
        letter = _FIRST + len(self.texts)
        if letter > _LAST:
            raise BadVariants("The wildcards of this prompt hold too many lines.")
        return self.texts.setdefault(text, chr(letter))

    def _list(self, name: str, within: tuple[str, ...]) -> _List:
        if name in within:
            way = " → ".join(f"__{each}__" for each in (*within[within.index(name) :], name))
            raise BadVariants(f"A wildcard includes itself: {way}. Take it out of its file.")
        if name not in self.lists:
            rows = [self._line(line, name, within) for line in self._lines(name)]
            lines, numbers = [words for words, _ in rows], [number for _, number in rows]
            self.lists[name] = _List(f"w{len(self.lists)}", lines, numbers)
        return self.lists[name]

    def _line(self, line: str, name: str, within: tuple[str, ...]) -> tuple[str, int]:
        try:
            parts = read(line)
        except BadVariants as error:
            raise BadVariants(f"In a line of the wildcard __{name}__: {error}") from None
        return self.row(parts, (*within, name))

    def _lines(self, name: str) -> list[str]:
        """Return the lines of all files that a wildcard's name fits, each once."""
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
