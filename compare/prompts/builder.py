"""Compose a prompt from its parts. Pure.

The subject comes first, because most models weigh the beginning of a prompt most; its appearance
follows, from the general to the particular.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_EDGES = " \t\n,;."
_NEGATION = re.compile(r"^(?:no|not|without)\s+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The parts of a prompt; each is free text, and all may be empty."""

    subject: str = ""
    medium: str = ""
    style: str = ""
    lighting: str = ""
    lens: str = ""
    composition: str = ""
    quality: str = ""
    negative: str = ""


@dataclass(frozen=True, slots=True)
class ComposedPrompt:
    """A prompt and its negative prompt."""

    prompt: str
    negative_prompt: str


def compose(parts: Parts) -> ComposedPrompt:
    """Return "an oil painting of a lighthouse, impressionist, moonlight" from its parts.

    Each phrase occurs once, separated by one comma. A leading "no" or "without" is removed from
    the phrases of the negative prompt, which is a negation already.
    """
    subject, medium = _tidy(parts.subject), _tidy(parts.medium)
    if subject and medium:
        subject = f"{medium} {subject}" if medium.endswith(" of") else f"{medium} of {subject}"
    look = (parts.style, parts.lighting, parts.lens, parts.composition, parts.quality)
    return ComposedPrompt(
        prompt=_join([subject or medium, *look]),
        negative_prompt=_join(_NEGATION.sub("", part.strip()) for part in _split(parts.negative)),
    )


def _join(phrases: Iterable[str]) -> str:
    """Join phrases with commas, leaving out repetitions (without regard to case)."""
    seen: dict[str, str] = {}
    for phrase in map(_tidy, phrases):
        if phrase:
            seen.setdefault(phrase.casefold(), phrase)
    return ", ".join(seen.values())


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(_EDGES)


def _split(text: str) -> list[str]:
    """Split at commas outside the braces of variants."""
    return re.findall(r"(?:\{[^{}]*\}|[^,{])+|\{", text)
