"""Read pictures that a service sends as base64 inside JSON, in the format of OpenAI's image API.

The pictures make up all but a few hundred bytes of `{"data": [{"b64_json": "..."}]}`. Their base64
is decoded in place, and only the rest is parsed as JSON. A picture takes a few milliseconds: call
these functions in a thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pybase64

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.validation import check, check_count
from backends.json_values import loads, mapping

_KEY = b'"b64_json"'


def decode_base64(encoded: str | memoryview) -> bytes:
    """Decode a picture.

    Backslashes are skipped: some servers escape the slashes of base64 in JSON.

    Raises:
        ServiceFault: this is not base64.
    """
    try:
        return pybase64.b64decode(encoded)
    except ValueError as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error


def parse_pictures(body: bytes) -> tuple[Mapping[str, Any], tuple[Picture | str, ...]]:
    """Parse a JSON response, or the event that completes a stream.

    Returns the JSON object without the base64, and its pictures: those in the list `data`, or the
    one in the object itself. A picture is a URL where the service sent one instead of bytes.

    Raises:
        ValueError: `body` is not JSON.
        ServiceFault: there is no picture in it, a damaged one, or too many.
    """
    rest, encoded = _extract(body)
    response = mapping(loads(rest))
    found = entries(response)
    check_count(len(found))
    pictures = tuple(_pictures(found, encoded))
    if not pictures:
        raise _without_picture()
    return response, pictures


def entries(response: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of the list `data`, or the response itself if there is no such list."""
    listed = response.get("data")
    return [mapping(entry) for entry in listed] if isinstance(listed, list) else [response]


def first_picture(body: bytes) -> bytes | None:
    """Return the bytes of the first picture in `body`, unchecked; None if there is none.

    Raises:
        ServiceFault: it is not base64.
    """
    _, encoded = _extract(body)
    return decode_base64(encoded[0]) if encoded else None


def _extract(body: bytes) -> tuple[bytes, list[memoryview]]:
    """Return `body` with a number in place of each base64 string, and those strings.

    Raises:
        ServiceFault: there are too many.
    """
    check_count(body.count(_KEY))
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
    found: list[Mapping[str, Any]], encoded: Sequence[memoryview]
) -> Iterator[Picture | str]:
    for entry in found:
        match entry:
            case {"b64_json": str(number)}:
                yield check(decode_base64(encoded[int(number)]))
            case {"url": str(url)} if url:
                yield url
            case _:
                raise _without_picture()


def _without_picture() -> ServiceFault:
    return ServiceFault(
        "The service answered without a picture. Look at your usage page before you try again."
    )
