"""Read what OpenAI's image API, or a server like it, answers.

The pictures make up all but a few hundred bytes of an answer. Their base64 is decoded where it
lies, and only the rest is read as JSON, with suspicion: a compatible server may leave out whatever
it likes. All of it takes a few milliseconds a picture, so it is called in a thread.
"""

import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pybase64

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.validation import check

_KEY = b'"b64_json"'


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A finished answer; `pictures` holds a URL where the service sent one instead of bytes.

    `generate` and `download` are the seconds up to the first byte and from there to the last,
    where the two can be told apart.
    """

    pictures: tuple[Picture | str, ...]
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    quality: str | None = None
    revised_prompt: str | None = None
    generate: float | None = None
    download: float | None = None


def parse_response(body: bytes) -> ApiResponse:
    """Read a whole JSON answer, or the event that completes a stream.

    Raises:
        ValueError: this is not JSON.
        ServiceFault: it is, but there is no picture in it.
    """
    rest, encoded = _lift(body)
    answer = mapping(json.loads(rest))
    listed = answer.get("data")
    entries = cast(list[object], listed) if isinstance(listed, list) else [answer]
    pictures = tuple(_pictures([mapping(entry) for entry in entries], encoded))
    if not pictures:
        raise _without_picture()
    quality = answer.get("quality")
    revised = (mapping(entry).get("revised_prompt") for entry in entries)
    return ApiResponse(
        pictures=pictures,
        usage=counters(answer.get("usage")),
        quality=quality if isinstance(quality, str) else None,
        revised_prompt=next((text for text in revised if isinstance(text, str) and text), None),
    )


def first_picture(body: bytes) -> bytes | None:
    """Return the bytes of the first picture in `body`, unchecked."""
    _, encoded = _lift(body)
    return _decoded(encoded[0]) if encoded else None


def counters(usage: object) -> dict[str, int]:
    """Return the tokens that are paid for, by kind; empty where the service does not say."""
    counts = mapping(usage)
    taken = mapping(counts.get("input_tokens_details"))
    made = mapping(counts.get("output_tokens_details"))
    found = {
        "text_input": taken.get("text_tokens", counts.get("input_tokens")),
        "image_input": taken.get("image_tokens"),
        "image_output": made.get("image_tokens", counts.get("output_tokens")),
        "text_output": made.get("text_tokens"),
    }
    return {name: count for name, count in found.items() if isinstance(count, int)}


def mapping(value: object) -> Mapping[str, object]:
    """Return `value` if it is a JSON object, an empty one otherwise."""
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _lift(body: bytes) -> tuple[bytes, list[memoryview]]:
    """Return `body` with a number in place of each base64 text, and those texts."""
    rest: list[bytes] = []
    encoded: list[memoryview] = []
    view, done, at = memoryview(body), 0, body.find(_KEY)
    while at >= 0:
        opening = body.find(b'"', at + len(_KEY)) + 1
        closing = body.find(b'"', opening)
        if body[at + len(_KEY) : opening - 1].strip() == b":" and closing > 0:
            rest += (body[done:opening], str(len(encoded)).encode())
            encoded.append(view[opening:closing])
            done = closing
        at = body.find(_KEY, max(opening, at + 1))
    return b"".join((*rest, body[done:])), encoded


def _pictures(
    entries: list[Mapping[str, object]], encoded: Sequence[memoryview]
) -> Iterator[Picture | str]:
    for entry in entries:
        match entry:
            case {"b64_json": str(number)}:
                yield check(_decoded(encoded[int(number)]))
            case {"url": str(url)} if url:
                yield url
            case _:
                raise _without_picture()


def _decoded(encoded: memoryview) -> bytes:
    try:
        # Some servers write the slashes of base64 as \/; the decoder passes over backslashes.
        return pybase64.b64decode(encoded)
    except binascii.Error as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error


def _without_picture() -> ServiceFault:
    return ServiceFault(
        "The service answered without a picture. Look at your usage page before you try again."
    )
