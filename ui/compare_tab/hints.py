"""What can be said of a run before it starts: what a model will not read, and how long it may take.

Hints keep nothing from starting. Pure functions to HTML; what users wrote is escaped.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup

from backends.base import Model
from backends.prompt_syntax import unknown_syntax
from backends.registry import backend_class
from compare.formatting import format_seconds

SHOWN: Final = 3
"""Models, and parts of the prompt, that a hint names."""
_PIECES = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W_]+|[^\w\s]")
_LETTERS: Final = 6
"""A word of up to this many letters is usually one token of CLIP's and T5's vocabularies."""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has; the tokenizers differ by a fifth and more.

    Each punctuation mark and each Chinese, Japanese or Korean letter counts one, a word one for
    every `_LETTERS` letters.
    """
    return sum(-(-len(piece) // _LETTERS) for piece in _PIECES.findall(text))


def too_long(prompt: str, models: Sequence[Model]) -> str:
    """Return a sentence about the models whose text encoder does not read all of the prompt."""
    tokens = estimated_tokens(prompt)
    short = [model for model in models if model.prompt_tokens and tokens > model.prompt_tokens]
    if short:
        limits = {model.prompt_tokens or 0 for model in short}
        least, most = min(limits), max(limits)
        read = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"The prompt has about {tokens} tokens, and {_named([each.label for each in short])} "
            f"{'reads' if len(short) == 1 else 'read'} the first {read}: put what matters first."
        )
    cut = [model for model in models if model.most_prompt and len(prompt) > model.most_prompt]
    if not cut:
        return ""
    return f"{_named([each.label for each in cut])} takes no prompt of {len(prompt):,} characters. Shorten it."


def not_understood(prompt: str, models: Sequence[Model]) -> str:
    """Return a sentence about notation that models read as plain words."""
    found: dict[str, list[str]] = {}
    for model in models:
        for part in unknown_syntax(prompt, backend_class(model.backend).syntax):
            found.setdefault(part, []).append(model.label)
    if not found:
        return ""
    parts = ", ".join(f"“{part[:40]}”" for part in list(found)[:SHOWN])
    readers = list(dict.fromkeys(label for each in found.values() for label in each))
    return f"{parts} {'is' if len(found) == 1 else 'are'} plain words to {_named(readers)}."


def time_needed(seconds: Mapping[str, tuple[str, float | None]]) -> str:
    """Return about how long a run takes, by what was measured here; "" if that is unknown.

    `seconds` has for each model the name of its lane and its usual seconds of drawing: the models
    of a lane draw one after another, the lanes side by side.
    """
    lanes: dict[str, float] = {}
    for lane, time in seconds.values():
        if time is not None:
            lanes[lane] = lanes.get(lane, 0.0) + time
    if not lanes:
        return ""
    known = sum(time is not None for _, time in seconds.values())
    of = "" if known == len(seconds) else f" for {known} of them"
    return f"usually {format_seconds(max(lanes.values()))} of drawing here{of}"


def lines(*sentences: str) -> str:
    """Return the hints as HTML below the estimate, "" if there are none."""
    told = [sentence for sentence in sentences if sentence]
    line = Markup('<span class="lu-note-line">{}</span>')
    return str(Markup("").join(line.format(each) for each in told))


def _named(labels: Sequence[str]) -> str:
    if len(labels) > SHOWN:
        return f"{', '.join(labels[: SHOWN - 1])} and {len(labels) - SHOWN + 1} more"
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)
