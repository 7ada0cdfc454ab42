"""Read what Google's image models answer: pictures and counted tokens, or why there are none.

The answer to a refused prompt, and to a picture that was withheld, is a success as HTTP goes. A
picture may have many megabytes, so all of this is called in a thread.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import pybase64

from backends.base import Picture
from backends.errors import Refused, ServiceFault
from backends.images.validation import check
from backends.wording import redact

PROMPT_REASONS: Mapping[str, str] = {
    "SAFETY": "it was found unsafe",
    "IMAGE_SAFETY": "a picture of it was found unsafe",
    "BLOCKLIST": "a word in it is blocked",
    "PROHIBITED_CONTENT": "what it asks for is prohibited",
    "MODEL_ARMOR": "Model Armor blocked it",
    "JAILBREAK": "it was taken for an attempt to get around the rules",
}
"""Why a prompt is declined (`blockReason`); what is not listed is declined too."""

PICTURE_REASONS: Mapping[str, str] = {
    "SAFETY": "it was found unsafe",
    "IMAGE_SAFETY": "it was found unsafe",
    "PROHIBITED_CONTENT": "what it shows is prohibited",
    "IMAGE_PROHIBITED_CONTENT": "what it shows is prohibited",
    "RECITATION": "it is too close to an existing work",
    "IMAGE_RECITATION": "it is too close to an existing work",
    "BLOCKLIST": "a word in it is blocked",
    "SPII": "it may show personal data",
    "LANGUAGE": "the prompt's language is not supported",
    "ESCALATION": "a filter rule stopped it",
    "MODEL_ARMOR": "Model Armor blocked it",
}
"""Why a picture is withheld (`finishReason`); what is not listed is no refusal."""

BILL = "Look at your usage on aistudio.google.com before you try again."


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """The pictures of one answer, and the tokens that are paid for by kind, empty if unknown."""

    pictures: tuple[Picture, ...]
    usage: Mapping[str, int] = field(default_factory=dict[str, int])


def parse_response(body: str, seed: int | None, service: str) -> ApiResponse:
    """Return what `body` brought for `seed`; `service` is who answered, as a sentence begins.

    Raises:
        ValueError: this is not JSON.
        Refused: the prompt was declined, or the picture withheld.
        ServiceFault: there is no picture, or it is damaged.
    """
    answer = _mapping(json.loads(body))
    candidates = [_mapping(each) for each in _list(answer.get("candidates"))]
    usage = counters(answer.get("usageMetadata"))
    data = [each for candidate in candidates for each in _pictures(candidate)]
    if not data:
        raise _without_picture(answer, candidates, usage, service)
    pictures = tuple(check(_decoded(each), seed=seed) for each in data)
    return ApiResponse(pictures=pictures, usage=usage)


def counters(metadata: object) -> dict[str, int]:
    """Return the counted tokens by the kinds that have prices of their own.

    What was made and is no picture is text, and so are thoughts. "cached_input" and "output" are
    kinds that no price list of ours knows: with them the cost is unknown instead of wrong.
    """
    counts = _mapping(metadata)
    taken, output = counts.get("promptTokenCount"), counts.get("candidatesTokenCount")
    if not isinstance(taken, int) or not isinstance(output, int):
        return {}
    thoughts, cached = (
        _number(counts, "thoughtsTokenCount"),
        _number(counts, "cachedContentTokenCount"),
    )
    details = [_mapping(each) for each in _list(counts.get("candidatesTokensDetails"))]
    image = sum(_number(each, "tokenCount") for each in details if each.get("modality") == "IMAGE")
    found = {"text_input": taken - cached, "text_output": thoughts}
    if cached:
        found["cached_input"] = cached
    if image:
        found |= {"image_output": image, "text_output": thoughts + max(0, output - image)}
    elif output:
        found["output"] = output
    return found


def _pictures(candidate: Mapping[str, object]) -> Iterator[str]:
    """Yield the base64 of each finished picture; one that the model only thought of is none."""
    for part in _list(_mapping(candidate.get("content")).get("parts")):
        match part:
            case {"thought": True}:
                continue
            case {"inlineData": {"data": str(data)}}:
                yield data
            case _:
                continue


def _decoded(data: str) -> bytes:
    try:
        return pybase64.b64decode(data)
    except ValueError as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error


def _without_picture(
    answer: Mapping[str, object],
    candidates: list[Mapping[str, object]],
    usage: Mapping[str, int],
    service: str,
) -> Refused | ServiceFault:
    charged = None if any(usage.values()) else False
    blocked = _mapping(answer.get("promptFeedback")).get("blockReason")
    if isinstance(blocked, str) and blocked:
        why = PROMPT_REASONS.get(blocked, "it gave no reason")
        return _refused(f"{service} declined the prompt: {why}.", charged)
    candidate = candidates[0] if candidates else {}
    finish = str(candidate.get("finishReason") or "")
    if why := PICTURE_REASONS.get(finish):
        return _refused(f"{service} withheld the picture: {why}.", charged)
    said = redact(" ".join(_words(candidate)))
    if said:
        return ServiceFault(f"{service} answered with words instead of a picture: “{said}” {BILL}")
    named = f" ({finish.replace('_', ' ').lower()})" if finish not in ("", "STOP") else ""
    return ServiceFault(f"{service} answered without a picture{named}. {BILL}")


def _refused(sentence: str, charged: bool | None) -> Refused:
    refused = Refused(f"{sentence} Change the prompt and try again.")
    refused.charged = charged
    return refused


def _words(candidate: Mapping[str, object]) -> Iterator[str]:
    for part in _list(_mapping(candidate.get("content")).get("parts")):
        match part:
            case {"thought": True}:
                continue
            case {"text": str(text)}:
                yield text
            case _:
                continue
    if isinstance(message := candidate.get("finishMessage"), str):
        yield message


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _number(counts: Mapping[str, object], name: str) -> int:
    number = counts.get(name)
    return number if isinstance(number, int) else 0
