"""Parse the responses of OpenAI's image API and of compatible servers, which may omit any field.

An answer may have the status of a success and hold an error: as an object `error`, nested in
another one, or in an event of any name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.base import Picture
from backends.errors import BackendError
from backends.images.base64_json import parse_pictures, without_picture
from backends.json_values import count, items, mapping, objects, text

_PREVIEW_WORDS = ("partial", "chunk", "progress", "preview")


class ErrorAnswer(Exception):
    """An answer that claims success holds this error object instead of a picture."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__("the answer holds an error")
        self.body = body


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A complete response; `pictures` holds a URL where the service sent one instead of bytes.

    `losses` say why other pictures are missing. `generate` and `download` are the seconds up to the
    first byte and from there to the last, where the two can be told apart.
    """

    pictures: tuple[Picture | str, ...] = ()
    losses: tuple[BackendError, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    quality: str | None = None
    revised_prompt: str | None = None
    generate: float | None = None
    download: float | None = None


def parse_response(body: bytes) -> ApiResponse:
    """Parse a JSON response, or the event that completes a stream; call it in a thread.

    Raises:
        ValueError: `body` is not JSON.
        ErrorAnswer: there is an error in it and no picture.
        ServiceFault: there is no picture in it, or a damaged one.
    """
    response = _parse(body)
    if isinstance(response, Mapping):
        raise ErrorAnswer(response)
    if response is None or not response.pictures:
        raise response.losses[0] if response and response.losses else without_picture()
    return response


def parse_event(name: str, data: bytes) -> ApiResponse | None:
    """Parse an event of a stream, None if it holds a preview; call it in a thread.

    Raises:
        ValueError: `data` is not JSON.
        ErrorAnswer: it is an error, under whatever name.
        ServiceFault: its picture is damaged.
    """
    if is_preview(name):
        return None
    response = _parse(data, name)
    if isinstance(response, Mapping):
        raise ErrorAnswer(response)
    return response


def is_preview(kind: str) -> bool:
    """Return whether an event of this name or type is about a picture that is not finished."""
    return any(word in kind.lower() for word in _PREVIEW_WORDS)


def merge(responses: Iterable[ApiResponse]) -> ApiResponse:
    """Return the events of one stream as one response; the last one that states a fact counts."""
    merged = ApiResponse()
    for each in responses:
        merged = replace(
            merged,
            pictures=merged.pictures + each.pictures,
            losses=merged.losses + each.losses,
            usage=each.usage or merged.usage,
            quality=each.quality or merged.quality,
            revised_prompt=each.revised_prompt or merged.revised_prompt,
        )
    return merged


def _parse(body: bytes, event: str | None = None) -> ApiResponse | Mapping[str, Any] | None:
    """Return the response in `body`, its error object, or None for an event with a preview."""
    answer = parse_pictures(body)
    response = answer.body
    kind = text(response.get("type")) or text(response.get("object")) or ""
    if event is not None and (is_preview(kind) or "partial_image_index" in response):
        return None
    if not answer.pictures and (error := _error_object(response, event or kind)):
        return error
    entries = [response, *objects(response.get("data"))]
    revised = (text(entry.get("revised_prompt")) for entry in entries)
    return ApiResponse(
        pictures=answer.pictures,
        losses=answer.losses,
        usage=_billed_tokens(response.get("usage")),
        quality=text(response.get("quality")),
        revised_prompt=next(filter(None, revised), None),
    )


def _error_object(response: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Return the error that a response without a picture holds, None if it holds none."""
    for holder in (response, mapping(response.get("response")), mapping(response.get("data"))):
        for error in (holder.get("error"), *items(holder.get("errors"))):
            if isinstance(error, dict) and error:
                return mapping(error)
            if text(error):
                return {**holder, "message": error}
    is_failure = any(word in kind.lower() for word in ("error", "fail"))
    said = text(response.get("message")) or text(response.get("detail"))
    if is_failure or said or items(response.get("detail")):
        return {**response, "message": said} if said else response
    return None


def _billed_tokens(usage: object) -> dict[str, int]:
    """Return the billed tokens by kind; empty where the service does not count them all.

    Proxies that are told no usage fill in zeros. A picture has tokens, so zero is not a count.
    """
    counts = mapping(usage)
    inputs = _by_kind(counts, "input", ("text", "image"))
    outputs = _by_kind(counts, "output", ("image", "text"))
    if not outputs.get("image_output") or not sum(inputs.values()):
        return {}
    if count(counts.get("total_tokens")) > sum(inputs.values()) + sum(outputs.values()):
        return {}  # some are counted in the total only: what kind they are is unknown
    return inputs | outputs


def _by_kind(counts: Mapping[str, Any], side: str, kinds: tuple[str, str]) -> dict[str, int]:
    """Return the tokens of one side by kind, all as the first kind where only their sum is given.

    Empty where the sum and the details contradict each other: which of them is billed is unknown.
    """
    total = count(counts.get(f"{side}_tokens"))
    details = mapping(counts.get(f"{side}_tokens_details"))
    found = {f"{kind}_{side}": count(details.get(f"{kind}_tokens")) for kind in kinds}
    detailed = sum(found.values())
    if not detailed:
        return {f"{kinds[0]}_{side}": total}
    return found if total in (0, detailed) else {}
