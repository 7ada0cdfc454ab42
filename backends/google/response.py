"""Parse the responses of Google's image models: pictures and token counts, or why there are none.

A response to a refused prompt, and to a withheld picture, has the HTTP status of a success. A
picture may have many megabytes: call `parse_response` in a thread.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from backends.base import Picture
from backends.errors import BackendError, Refused, ServiceFault
from backends.hosted import Result
from backends.images.base64_json import decode_base64
from backends.images.validation import check, check_count
from backends.json_values import count, items, loads, mapping, objects, text
from backends.wording import redact, service_message

PROMPT_REASONS: Mapping[str, str] = {
    "SAFETY": "it was found unsafe",
    "IMAGE_SAFETY": "a picture of it was found unsafe",
    "BLOCKLIST": "a word in it is blocked",
    "PROHIBITED_CONTENT": "what it asks for is prohibited",
    "MODEL_ARMOR": "Model Armor blocked it",
    "JAILBREAK": "it was taken for an attempt to get around the rules",
}
"""Reasons for a declined prompt (`blockReason`); a value not listed here is a refusal too."""

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
"""Reasons for a withheld picture (`finishReason`); a value not listed here is no refusal."""

BILL = "Look at your usage on aistudio.google.com before you try again."


def parse_response(body: str, seed: int | None, service: str) -> Result:
    """Return the pictures drawn with `seed`, and the billed tokens by kind.

    `service` is the name of the service at the beginning of a sentence.

    Raises:
        ValueError: `body` is not JSON.
        Refused: the prompt was declined, or the picture withheld.
        ServiceFault: there is no picture, or it is damaged.
    """
    response = mapping(loads(body))
    candidates = [mapping(each) for each in items(response.get("candidates"))]
    usage = _billed_tokens(response.get("usageMetadata"))
    encoded = [each for candidate in candidates for each in _pictures(candidate)]
    check_count(len(encoded))
    if not encoded:
        raise _without_picture(response, candidates, usage, service)
    pictures: list[Picture] = []
    losses: list[BackendError] = []
    for each in encoded:
        try:
            pictures.append(check(decode_base64(each), seed=seed))
        except ServiceFault as loss:
            losses.append(loss)
    if not pictures:
        raise losses[0]
    return Result(pictures=tuple(pictures), losses=tuple(losses), usage=usage)


def _billed_tokens(metadata: object) -> dict[str, int]:
    """Return the token counts by the kinds that have their own prices.

    Output that is not a picture is text, and so are thoughts. "cached_input" and "output" are
    kinds that no price list of the catalogue has: they make the cost unknown instead of wrong.
    """
    counts = mapping(metadata)
    inputs, output = counts.get("promptTokenCount"), counts.get("candidatesTokenCount")
    if not isinstance(inputs, int) or not isinstance(output, int):
        return {}
    thoughts = _tokens(counts, "thoughtsTokenCount")
    tools = _tokens(counts, "toolUsePromptTokenCount")
    if _tokens(counts, "totalTokenCount") > inputs + output + thoughts + tools:
        return {}  # some are counted in the total only: what kind they are is unknown
    cached = _tokens(counts, "cachedContentTokenCount")
    details = objects(counts.get("candidatesTokensDetails"))
    image = sum(_tokens(each, "tokenCount") for each in details if each.get("modality") == "IMAGE")
    found = {"text_input": inputs + tools - cached, "text_output": thoughts}
    if cached:
        found["cached_input"] = cached
    if image:
        found |= {"image_output": image, "text_output": thoughts + max(0, output - image)}
    elif output:
        found["output"] = output
    else:
        return {}
    return found


def _tokens(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) else 0


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a candidate, without the model's thoughts."""
    for part in objects(mapping(candidate.get("content")).get("parts")):
        if part.get("thought") is not True:
            yield part


def _pictures(candidate: Mapping[str, Any]) -> Iterator[str]:
    """Yield the base64 of each finished picture."""
    for part in _parts(candidate):
        match part:
            case {"inlineData": {"data": str(data)}} | {"inline_data": {"data": str(data)}}:
                yield data
            case _:
                continue


def _without_picture(
    response: Mapping[str, Any],
    candidates: list[Mapping[str, Any]],
    usage: Mapping[str, int],
    service: str,
) -> Refused | ServiceFault:
    if said := text(mapping(response.get("error")).get("message")):
        return ServiceFault(f"{service} failed: {service_message(said)} {BILL}")
    counts = mapping(response.get("usageMetadata"))
    blocked = text(mapping(response.get("promptFeedback")).get("blockReason"))
    if blocked:
        why = PROMPT_REASONS.get(blocked, "it gave no reason")
        inputs = count(counts.get("promptTokenCount"))
        return _refused(f"{service} declined the prompt: {why}.", {"text_input": inputs})
    candidate = candidates[0] if candidates else {}
    finish = str(candidate.get("finishReason") or "")
    if why := PICTURE_REASONS.get(finish):
        refused = _refused(f"{service} withheld the picture: {why}.", usage)
        if not usage and any(count(each) for each in counts.values()):
            refused.charged = None  # what was counted is not all of it
        return refused
    message = redact(" ".join(_texts(candidate)))
    if message:
        return ServiceFault(
            f"{service} answered with words instead of a picture: “{message}” {BILL}"
        )
    named = f" ({finish.replace('_', ' ').lower()})" if finish not in ("", "STOP") else ""
    return ServiceFault(f"{service} answered without a picture{named}. {BILL}")


def _refused(sentence: str, usage: Mapping[str, int]) -> Refused:
    """Return a refusal, which costs the tokens that were counted for it."""
    refused = Refused(f"{sentence} Change the prompt and try again.")
    if any(usage.values()):
        refused.charged, refused.usage = None, usage
    return refused


def _texts(candidate: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the model wrote, and the service's message about why it stopped."""
    for part in _parts(candidate):
        match part:
            case {"text": str(written)}:
                yield written
            case _:
                continue
    if isinstance(message := candidate.get("finishMessage"), str):
        yield message
