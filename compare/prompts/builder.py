"""One well-formed prompt out of its parts. Pure.

What a picture is of comes first, because most models weigh the beginning most; how it looks
follows, from the large to the small.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_EDGES = " \t\n,;."
_NOT = re.compile(r"^(?:no|not|without)\s+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a prompt is made of; each is free text, and all may be empty."""

    subject: str = ""
    medium: str = ""
    style: str = ""
    lighting: str = ""
    lens: str = ""
    composition: str = ""
    quality: str = ""
    negative: str = ""


@dataclass(frozen=True, slots=True)
class Composed:
    """A prompt, and what should not be in the picture."""

    prompt: str
    negative_prompt: str


def compose(parts: Parts) -> Composed:
    """Return "an oil painting of a lighthouse, impressionist, moonlight" from its parts.

    Every phrase stands once, with one comma between two. A "no" or "without" in the negative
    prompt is left out: it says what should not be there already.
    """
    subject, medium = _tidy(parts.subject), _tidy(parts.medium)
    if subject and medium:
        subject = f"{medium} {subject}" if medium.endswith(" of") else f"{medium} of {subject}"
    look = (parts.style, parts.lighting, parts.lens, parts.composition, parts.quality)
    return Composed(
        prompt=_listed([subject or medium, *look]),
        negative_prompt=_listed(_NOT.sub("", part.strip()) for part in _split(parts.negative)),
    )


def _listed(phrases: Iterable[str]) -> str:
    """Put commas between phrases; what was said before is not said again."""
    said: dict[str, str] = {}
    for phrase in map(_tidy, phrases):
        if phrase:
            said.setdefault(phrase.casefold(), phrase)
    return ", ".join(said.values())


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(_EDGES)


def _split(text: str) -> list[str]:
    """Split at commas, but not within the braces of variants."""
    return re.findall(r"(?:\{[^{}]*\}|[^,{])+|\{", text)
