"""What can be said of a run before it starts: how long it takes, and which words are lost on whom.

Nothing here keeps a run from starting. The jobs' cards say afterwards what became of each input.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backends.base import Model, Request
from backends.prompt_length import PromptLength
from backends.prompt_syntax import LORA_TAG, Syntax, unknown_syntax
from compare.catalogue.availability import Availability
from compare.records import RunSpec

_MAX_NAMES = 3
_MAX_PARTS = 4
_MAX_LENGTH = 40
"""The most characters of a prompt's part in a sentence."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """About how many seconds the models of a run take that have been measured on this machine.

    `measured` of `models` have been; the others' time is unknown.
    """

    seconds: float
    measured: int
    models: int


def run_time(
    availability: Availability, specs: Sequence[RunSpec], model_ids: Sequence[str]
) -> RunTime | None:
    """Return about how long the runs take, None if no model has been measured here.

    Jobs of one lane wait for each other, lanes do not. Starting libraries and loading weights is
    not in it, nor are second steps.
    """
    lanes: dict[str, list[float]] = defaultdict(list)
    widths: dict[str, int] = {}
    measured = set[str]()
    for spec in specs:
        for id in model_ids:
            seconds = availability.typical_seconds(id, spec.request.count)
            if seconds is not None:
                model = availability.model(id)
                lane = availability.backend(model).lane(model)
                lanes[lane.name].append(seconds)
                widths[lane.name] = max(1, lane.width)
                measured.add(id)
    if not measured:
        return None
    longest = max(max(times) for times in lanes.values())
    busiest = max(sum(times) / widths[name] for name, times in lanes.items())
    return RunTime(max(longest, busiest), len(measured), len(model_ids))


def prompt_hints(
    availability: Availability, request: Request, model_ids: Iterable[str]
) -> list[str]:
    """Return a sentence for each thing that some of the models will not read of the prompt.

    May read the tokenizers of models: call it in a thread.
    """
    models = [availability.model(id) for id in model_ids]
    return [
        *_length_hints(availability, request.prompt, models),
        *_syntax_hints(availability, request, models),
    ]


def _length_hints(
    availability: Availability, prompt: str, models: Sequence[Model]
) -> Iterable[str]:
    losers: dict[tuple[str, str], list[Model]] = defaultdict(list)
    for model in models:
        if model.most_prompt is not None and len(prompt) > model.most_prompt:
            taken = f"at most {model.most_prompt:,} characters of a prompt"
            losers["take", f"{taken}; this one has {len(prompt):,}. Shorten it."].append(model)
        elif model.most_tokens is not None:
            backend = availability.backend(model)
            text = LORA_TAG.sub("", prompt) if Syntax.LORA in backend.syntax else prompt
            length = backend.prompt_length(model, text)
            if lost := _lost(length, text, model.most_tokens):
                losers["read", f"{model.most_tokens} tokens of a prompt; {lost}"].append(model)
    for (verb, sentence), found in losers.items():
        yield f"{_names(found)} {verb}{'' if len(found) > 1 else 's'} {sentence}"


def _lost(length: PromptLength, text: str, limit: int) -> str:
    """Return the end of the sentence about a prompt that is too long, "" for one that is not."""
    count = max(length.tokens, len(length.ends))
    if count <= limit:
        return ""
    has = f"this one has {'' if length.exact else 'about '}{count}"
    rest = length.rest(text, limit)
    return f"{has}. Not read: “{_shortened(rest)}”" if rest else f"{has}: its end may not be read."


def _syntax_hints(
    availability: Availability, request: Request, models: Sequence[Model]
) -> Iterable[str]:
    found: dict[tuple[tuple[str, ...], bool], list[Model]] = defaultdict(list)
    for model in models:
        understood = availability.backend(model).syntax
        parts = unknown_syntax(request.prompt, understood)
        if parts:
            found[tuple(parts), not model.server].append(model)
    for (parts, certain), readers in found.items():
        listed = ", ".join(f"“{_shortened(part)}”" for part in parts[:_MAX_PARTS])
        more = f" and {len(parts) - _MAX_PARTS} more" if len(parts) > _MAX_PARTS else ""
        names = _names(readers)
        if certain:
            yield f"{listed}{more}: plain words to {names}."
        else:
            yield f"{listed}{more}: sent as written to {names}; few servers understand it."


def _names(models: Sequence[Model]) -> str:
    """Return "A", "A and B" or "A, B, C and 2 more"."""
    labels = [model.label for model in models]
    shown = labels[:_MAX_NAMES]
    more = [f"{len(labels) - len(shown)} more"] if len(labels) > len(shown) else []
    *rest, last = [*shown, *more]
    return f"{', '.join(rest)} and {last}" if rest else last


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 1].rstrip()}…"
