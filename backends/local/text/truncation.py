"""What of a prompt no text encoder of a model reads: each has a length, and the rest is cut off.

diffusers tells a log of it. Where a model has several text encoders, what one of them reads counts
as read: FLUX's CLIP is told 77 tokens only, but its T5 several hundred. What a chat template says
around a prompt takes some of a model's tokens, too, and is not counted here.
"""

import inspect
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from backends.base import Applied, Request

_SHOWN: Final = 60
"""Letters of what is left out that are shown, at most."""


def truncated_prompts(pipeline: Any, request: Request, label: str) -> dict[str, Applied]:
    """The ends of prompts that `pipeline` leaves unread; numbers are tokens."""
    found: dict[str, Applied] = {}
    takes = inspect.signature(pipeline.__call__).parameters
    for name in ("prompt", "negative_prompt"):
        readings = [_reading(pipeline, each, getattr(request, name)) for each in _all(pipeline)]
        if name not in takes or not readings:
            continue
        asked, read, rest = min(readings, key=lambda each: len(each[2]))
        if rest:
            shown = rest if len(rest) <= _SHOWN else f"{rest[:_SHOWN].rstrip()}…"
            words = name.replace("_", " ")
            note = (
                f"end of {words} ignored: {label} reads {read} tokens, this has {asked}: “{shown}”"
            )
            found[f"{name}_length"] = Applied(asked, read, note)
    return found


def _all(pipeline: Any) -> list[Any]:
    """The pipeline's tokenizers, FLUX.2's inside a processor."""
    parts = pipeline.components.items()
    named = [getattr(part, "tokenizer", part) for name, part in parts if "tokenizer" in name]
    return [part for part in named if isinstance(part, PreTrainedTokenizerBase)]


def _reading(pipeline: Any, tokenizer: Any, text: str) -> tuple[int, int, str]:
    """How many tokens of its own a text has, how many of them are read, and what is not."""
    if hasattr(pipeline, "maybe_convert_prompt"):  # a word of one's own may be several tokens
        text = pipeline.maybe_convert_prompt(text, tokenizer)
    given = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    read = _length(pipeline, tokenizer) - tokenizer.num_special_tokens_to_add()
    rest = tokenizer.decode(given[read:]).strip() if len(given) > read else ""
    return len(given), min(read, len(given)), rest


def _length(pipeline: Any, tokenizer: Any) -> int:
    """How many tokens the pipeline lets this tokenizer's text encoder read."""
    longest = int(tokenizer.model_max_length)
    own = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    if "CLIP" in type(tokenizer).__name__:
        return longest
    if own is not None:
        return int(own.default)
    said: int | None = getattr(pipeline, "reads", None)
    return said or longest  # millions, if it was saved without a length
