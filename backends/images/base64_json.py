"""Read the pictures that a service sends inside JSON, in whatever form they come.

The documented form is that of OpenAI's image API, `{"data": [{"b64_json": "..."}]}`. Compatible
servers send data URLs, base64 with line breaks, an empty `b64_json` beside an address, or fields of
other names. A whole picture was paid for and is kept, whatever its field is called; a missing one
does not take the others with it.

The pictures make up all but a few hundred bytes of such a body. Base64 that begins like a picture
is found by its first bytes and decoded in place, and only the rest is parsed as JSON. A picture
takes a few milliseconds: call these functions in a thread.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import pybase64

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.formats import format_of
from backends.images.validation import check, check_count
from backends.json_values import items, loads, mapping, text
from backends.wording import NO_REASON, service_message

_BEGINNING = re.compile(
    rb'"(?:\\[nrt]|\s)*(?:data:[^",]{0,100},)?(?:\\[nrt]|\s)*'
    rb"(?=iVBORw0KGgo|\\?/9j\\?/|R0lGOD|UklGR)"
)
"""The beginning of a JSON string of base64 that is a PNG, a JPEG, a GIF or a WebP picture."""
_ESCAPES = re.compile(rb"\\(?:[nrtbf]|u000[AaDd9])|\\")
"""Escaped line breaks, and the backslash that some servers put before the slashes of base64."""
_URL_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
_MARK: Final = "base64-picture:"
_ADDRESS_KEYS: Final = frozenset(
    {
        "url",
        "urls",
        "uri",
        "image",
        "images",
        "image_url",
        "image_urls",
        "output",
        "outputs",
        "data",
    }
)
_ERROR_KEYS: Final = frozenset({"error", "errors", "warnings"})

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer: the object without its base64, its pictures, and why others are missing.

    A picture is an address where the service sent one instead of bytes.
    """

    body: Json
    pictures: tuple[Picture | str, ...]
    losses: tuple[ServiceFault, ...] = field(default=())

    def require(self) -> None:
        """Check that there is a picture.

        Raises:
            ServiceFault: there is none; the sentence says why.
        """
        if not self.pictures:
            raise self.losses[0] if self.losses else without_picture()


def decode_base64(encoded: str | bytes | memoryview) -> bytes:
    """Decode a picture.

    Line breaks and backslashes are skipped, missing padding is added; the alphabet for URLs
    (RFC 4648, section 5) and the prefix of a data URL are understood.

    Raises:
        ServiceFault: this is not base64.
    """
    data = encoded.encode("utf-8", "replace") if isinstance(encoded, str) else bytes(encoded)
    if data[:5].lower() == b"data:":
        data = data[data.find(b",") + 1 :]
    if b"\\" in data:
        data = _ESCAPES.sub(b"", data)
    if b"-" in data or b"_" in data:
        data = data.translate(_URL_ALPHABET)
    data = b"".join(data.split()).rstrip(b"=")
    try:
        return pybase64.b64decode(data + b"=" * (-len(data) % 4))
    except ValueError as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error


def parse_pictures(body: bytes) -> Answer:
    """Parse an answer, or the event that completes a stream; a body may be the picture itself.

    Raises:
        ValueError: `body` is neither JSON nor a picture.
        ServiceFault: there are too many pictures in it, or the body is a damaged picture.
    """
    if format_of(body[:32]) is not None:
        return Answer({}, (check(body),))
    rest, encoded = _extract(body)
    response = loads(rest)
    pictures: list[Picture | str] = []
    losses: list[ServiceFault] = []
    entries = _entries(response)
    check_count(len(entries))
    for entry in entries:
        try:
            pictures.append(_first_whole(entry, encoded))
        except ServiceFault as loss:
            losses.append(loss)
    return Answer(mapping(response), tuple(pictures), tuple(losses))


def first_picture(body: bytes) -> bytes | None:
    """Return the bytes of the first picture in `body`, unchecked; None if there is none.

    Raises:
        ServiceFault: it is not base64.
    """
    _, encoded = _extract(body)
    return decode_base64(encoded[0]) if encoded else None


def _extract(body: bytes) -> tuple[bytes, list[memoryview]]:
    """Return `body` with a mark in place of each base64 picture, and those pictures.

    Raises:
        ServiceFault: there are too many.
    """
    check_count(sum(1 for _ in _BEGINNING.finditer(body)))
    rest: list[bytes] = []
    encoded: list[memoryview] = []
    view, done = memoryview(body), 0
    found = _BEGINNING.search(body)
    while found is not None:
        closing = body.find(b'"', found.end())
        if closing < 0:
            break
        rest += (body[done : found.start() + 1], f"{_MARK}{len(encoded)}".encode())
        encoded.append(view[found.end() : closing])
        done = closing
        found = _BEGINNING.search(body, closing)
    return b"".join((*rest, body[done:])), encoded


@dataclass(frozen=True, slots=True)
class _Entry:
    """What stands for one picture: its sources in the order of preference, and a reason."""

    sources: Sequence[tuple[str, str]]
    reason: str = ""


def _entries(response: object) -> list[_Entry]:
    """Return the entries of the list `data`; without a picture in it, what else holds one."""
    listed = items(mapping(response).get("data"))
    entries = [next(_search(each, "data"), _Entry((), _reason(each))) for each in listed]
    if not any(entry.sources for entry in entries):
        others = list(_search(response, ""))
        return others or entries
    return entries


def _search(node: object, key: str) -> Iterator[_Entry]:
    """Yield an entry for each object or string below `node` that stands for a picture."""
    if isinstance(node, str):
        if _is_source(key, node):
            yield _Entry(((key, node),))
    elif isinstance(node, list):
        for each in cast(list[object], node):
            yield from _search(each, key)
    elif isinstance(node, dict):
        fields = cast(dict[str, object], node)
        own = [
            (name, value)
            for name, value in fields.items()
            if isinstance(value, str) and _is_source(name, value)
        ]
        if own:  # a picture may be there twice, as bytes and as an address
            own.sort(key=lambda source: not _is_encoded(*source))
            yield _Entry(own, _reason(fields))
            return
        for name, value in fields.items():
            if name not in _ERROR_KEYS:
                yield from _search(value, name)


def _is_source(key: str, value: str) -> bool:
    if _is_encoded(key, value):
        return True
    if value[:8].lower().startswith(("https://", "http://", "data:")):
        return key in _ADDRESS_KEYS
    return key == "url" and bool(value)


def _is_encoded(key: str, value: str) -> bool:
    return key == "b64_json" or value.startswith(_MARK)


def _first_whole(entry: _Entry, encoded: Sequence[memoryview]) -> Picture | str:
    """Return the first source of an entry that is a whole picture, or an address.

    Raises:
        ServiceFault: there is none.
    """
    loss: ServiceFault | None = None
    for key, value in entry.sources:
        if not _is_encoded(key, value):
            return value
        number = value.removeprefix(_MARK)
        is_mark = number != value and number.isdecimal() and int(number) < len(encoded)
        try:
            return check(decode_base64(encoded[int(number)] if is_mark else value))
        except ServiceFault as error:
            loss = loss or error
    raise loss or without_picture(entry.reason)


def _reason(entry: object) -> str:
    """Return why an entry has no picture, "" if it does not say."""
    match entry:
        case {"error": {"message": str(said)}} | {"error": str(said)} | {"message": str(said)}:
            return said
        case {"finish_reason": str(said)} | {"finishReason": str(said)} | {"status": str(said)}:
            return said.replace("_", " ").lower()
        case _:
            return ""


def without_picture(reason: str = "") -> ServiceFault:
    """Return the error for an answer without a picture, with the reason that it gives."""
    why = service_message(reason) if text(reason) else NO_REASON
    said = "" if why == NO_REASON else f": {why.rstrip('.')}"
    return ServiceFault(
        f"The service answered without a picture{said}. Look at your usage page before you try "
        "again."
    )
