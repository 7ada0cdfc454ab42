"""Find the part of a prompt that exceeds every tokenizer's limit.

diffusers only logs the truncation. If a model has several text encoders, the longest input counts:
FLUX's CLIP reads 77 tokens only, but its T5 several hundred. The text that a chat template adds to
a prompt takes some of a model's tokens too, and is not counted here.
"""

import inspect
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from backends.base import Applied, Request

_MAX_SHOWN: Final = 60
"""Maximum characters of the truncated text in a note."""


def truncated_prompts(pipeline: Any, request: Request, label: str) -> dict[str, Applied]:
    """Return the truncated ends of prompts as ignored; the numbers are tokens."""
    ignored: dict[str, Applied] = {}
    parameters = inspect.signature(pipeline.__call__).parameters
    for name in ("prompt", "negative_prompt"):
        measured = [
            _measure(pipeline, each, getattr(request, name)) for each in _tokenizers(pipeline)
        ]
        if name not in parameters or not measured:
            continue
        total, read, remainder = min(measured, key=lambda each: len(each[2]))
        if remainder:
            shown = (
                remainder if len(remainder) <= _MAX_SHOWN else f"{remainder[:_MAX_SHOWN].rstrip()}…"
            )
            noun = name.replace("_", " ")
            note = (
                f"end of {noun} ignored: {label} reads {read} tokens, this has {total}: “{shown}”"
            )
            ignored[f"{name}_length"] = Applied(total, read, note)
    return ignored


def _tokenizers(pipeline: Any) -> list[Any]:
    """Return the pipeline's tokenizers; FLUX.2's is inside a processor."""
    parts = pipeline.components.items()
    named = [getattr(part, "tokenizer", part) for name, part in parts if "tokenizer" in name]
    return [part for part in named if isinstance(part, PreTrainedTokenizerBase)]


def _measure(pipeline: Any, tokenizer: Any, text: str) -> tuple[int, int, str]:
    """Return the number of tokens of `text`, how many are read, and the text after them."""
    if hasattr(pipeline, "maybe_convert_prompt"):  # the token of a textual inversion may be several
        text = pipeline.maybe_convert_prompt(text, tokenizer)
    tokens = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    read = _max_tokens(pipeline, tokenizer) - tokenizer.num_special_tokens_to_add()
    remainder = tokenizer.decode(tokens[read:]).strip() if len(tokens) > read else ""
    return len(tokens), min(read, len(tokens)), remainder


def _max_tokens(pipeline: Any, tokenizer: Any) -> int:
    """Return the maximum number of tokens for this tokenizer in the pipeline."""
    longest = int(tokenizer.model_max_length)
    parameter = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    if "CLIP" in type(tokenizer).__name__:
        return longest
    if parameter is not None:
        return int(parameter.default)
    limit: int | None = getattr(pipeline, "max_prompt_tokens", None)
    return limit or longest  # millions if the tokenizer was saved without a length
