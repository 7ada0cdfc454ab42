"""Keep keys out of texts: whatever is shown, stored or logged passes `redact`.

A hostile service can echo a key in any field, and in any dress: upper case, base64, hex, URL
encoding, with spaces in between, or but for a few characters. So texts are compared with each
form of each key by their letters and digits alone, in pieces: n-gram matching, linear in the length
of the text.
"""

import base64
import codecs
import json
import logging
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TextIO
from urllib.parse import quote

HIDDEN: Final = "[hidden]"
PIECE: Final = 8
"""Letters and digits of a piece. A shorter key is not searched for: ordinary words have it."""
SHORT: Final = 5
"""Letters and digits of a short piece; only those close to each other count."""
CLOSE: Final = 8
"""Letters and digits between two short pieces that are close."""
SHARE: Final = 0.4
"""The share of a key whose pieces must occur; services show the first and last few on purpose."""


Hide = Callable[[str], str]
"""Removes keys from a text (`Settings.hide`)."""
MAX_SENTENCE: Final = 2_000
# All control characters but tab and newline, what turns the direction of text round, and what
# breaks a line where JavaScript reads one.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_HEX: Final = ("{:02x}", "25{:02x}", "x{:02x}", "0x{:02x}", "u00{:02x}")
_CODES: Final = (*_HEX, "{}", "{:03}", "{:o}")
"""The letters and digits of a byte as %73, %2573, \\x73, 0x73, \\u0073; decimal, octal."""
_SIGNS = re.compile(r"[^0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of a key: its letters and digits in lower case.

    Of `codes`, such as hex, five characters say too little to be searched for.
    """

    text: str = field(repr=False)
    codes: bool

    @property
    def least(self) -> int:
        """How many of its characters must occur."""
        return max(PIECE, round(SHARE * len(self.text)))


@dataclass(frozen=True, slots=True)
class _Key:
    """What is searched for of one key: its forms, and their short pieces.

    `written` matches a key that has too few letters and digits for a piece.
    """

    forms: tuple[_Form, ...]
    pieces: frozenset[str] = field(repr=False)
    written: re.Pattern[str] | None = field(repr=False)

    def suspects(self, pieces: Set[str]) -> Iterator[_Form]:
        """Yield the forms of which enough short pieces are among those of a text."""
        if self.pieces.isdisjoint(pieces):
            return
        for form in self.forms:
            text = form.text
            offsets = [at for at in _places(text, SHORT) if text[at : at + SHORT] in pieces]
            if _covered(offsets, SHORT) >= form.least:
                yield form


def redact(text: str, keys: Iterable[str]) -> str:
    """Return `text` with every form of each of `keys`, whole or in large part, as "[hidden]".

    A key of mostly other characters than letters and digits is only found as it is written, in any
    case.
    """
    known = [_prepare(key) for key in set(keys) if len(key) >= PIECE]
    for key in known:
        if key.written is not None:
            text = key.written.sub(HIDDEN, text)
    bare = _bare(text)
    pieces = {bare[at : at + SHORT] for at in _places(bare, SHORT)}
    forms = [form for key in known for form in key.suspects(pieces)]
    if not forms:
        return text
    letters = list(_letters(text))
    bare = "".join(letter for _, letter in letters)
    runs = sorted([*_find(forms, bare), *_find_close(forms, bare)])
    return _replaced(text, [at for at, _ in letters], runs)


def clean_text(text: object, hide: Hide, most: int = MAX_SENTENCE) -> str:
    """Return a text from a service as it may be stored and shown."""
    cleaned = str(text)[: most + 1]
    if not cleaned:
        return ""
    cleaned = cleaned.encode("utf-8", "replace").decode("utf-8")
    cleaned = hide(_CONTROL.sub("", cleaned))
    return cleaned if len(cleaned) <= most else f"{cleaned[: most - 1]}…"


def traceback_text(error: BaseException, hide: Hide) -> str:
    """Return the traceback of an error, as it may be logged."""
    return hide("".join(traceback.format_exception(error)))


def redact_logs(hide: Hide) -> None:
    """Let every log record, and whatever is written to standard error, pass `hide`.

    Tracebacks hold what libraries put into their errors: addresses, headers, whole requests. Some
    are logged; Gradio, threads and the interpreter itself print theirs.
    """
    current = logging.getLogRecordFactory()
    make = current.make if isinstance(current, _RecordFactory) else current
    logging.setLogRecordFactory(_RecordFactory(make, hide))
    stream = sys.stderr
    bare = stream.stream if isinstance(stream, _RedactedStream) else stream
    sys.stderr = _RedactedStream(bare, hide)  # pyright: ignore[reportAttributeAccessIssue]


class _RecordFactory:
    """Makes log records whose message and traceback hold no key."""

    def __init__(self, make: Callable[..., logging.LogRecord], hide: Hide) -> None:
        self.make = make
        self._hide = hide

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        try:
            message = record.getMessage()
            if (shown := self._hide(message)) != message:
                record.msg, record.args = shown, None
            if record.exc_info and record.exc_info[0]:
                record.exc_text = self._hide(
                    "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
                )
                record.exc_info = None  # some handlers would format it anew
        except Exception as error:  # a record that cannot be formatted must not stop the program
            record.msg = f"A message could not be written: {type(error).__name__}"
            record.args = record.exc_info = None
        return record


class _RedactedStream:
    """A text stream like another one, on which no key is written."""

    def __init__(self, stream: TextIO, hide: Hide) -> None:
        self.stream = stream
        self._hide = hide

    def write(self, text: str) -> int:
        """Write `text` without keys; a traceback is written by whole lines."""
        self.stream.write(self._hide(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _bare(text: str) -> str:
    """Return the letters and digits of a text in lower case, those of look-alikes included."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return _SIGNS.sub("", text).lower()


def _letters(text: str) -> Iterator[tuple[int, str]]:
    """Yield the characters of `_bare` with their places in `text`."""
    for at, character in enumerate(text):
        for letter in _bare(character):
            yield at, letter


@lru_cache(maxsize=32)
def _prepare(key: str) -> _Key:
    """Return what is searched for of a key."""
    data = key.encode(errors="replace")
    in_base = list(_in_base(data, base64.b64encode, group=3, bits=6))
    plain = [key, codecs.encode(key, "rot13"), quote(key, safe=""), *in_base]
    for encoded in in_base:
        plain += _in_base(encoded.encode(), base64.b64encode, group=3, bits=6)
    plain += _in_base(data, base64.b32encode, group=5, bits=5)
    codes = [
        quote(quote(key, safe=""), safe=""),
        data.decode(errors="replace").encode("utf-16-le").hex(),
    ]
    codes += ["".join(code.format(byte) for byte in data) for code in _CODES]
    # Of a user and a password, a header has base64: so it may be encoded once more.
    codes += [encoded.encode().hex() for encoded in in_base]
    texts = {_bare(text): True for text in codes}
    texts |= {_bare(text): False for each in plain for text in (each, each[::-1])}
    forms = tuple(_Form(text, codes) for text, codes in texts.items() if len(text) >= PIECE)
    pieces = {form.text[at : at + SHORT] for form in forms for at in _places(form.text, SHORT)}
    written = "|".join(re.escape(form) for form in (key, json.dumps(key)[1:-1]))
    few = len(_bare(key)) < PIECE
    return _Key(forms, frozenset(pieces), re.compile(written, re.IGNORECASE) if few else None)


def _in_base(
    data: bytes, encode: Callable[[bytes], bytes], *, group: int, bits: int
) -> Iterator[str]:
    """Yield an encoding of `data` at each of its places among other bytes.

    Base64 encodes three bytes in groups of four characters of 6 bits, base32 five bytes in eight
    of 5 bits. The characters that other bytes have a part in are left out.
    """
    for before in range(group):
        first, end = -(-8 * before // bits), 8 * (before + len(data)) // bits
        yield encode(bytes(before) + data).decode()[first:end]


def _find(forms: Iterable[_Form], bare: str) -> Iterator[tuple[int, int]]:
    """Yield the first and the last letter of each run of pieces, if enough of a form occurs."""
    for form, hits in _hits(forms, bare, PIECE).items():
        if _covered(sorted({offset for _, offset in hits}), PIECE) >= form.least:
            yield from _runs([at for at, _ in hits])


def _find_close(forms: Iterable[_Form], bare: str) -> Iterator[tuple[int, int]]:
    """Yield the first and the last letter of each place where short pieces lie close together.

    So a key is found of which every sixth character is another one.
    """
    plain = [form for form in forms if not form.codes]
    for form, hits in _hits(plain, bare, SHORT).items():
        begin = 0
        for end in range(1, len(hits) + 1):
            if end < len(hits) and hits[end][0] <= hits[end - 1][0] + SHORT + CLOSE:
                continue
            offsets = sorted({offset for _, offset in hits[begin:end]})
            if _covered(offsets, SHORT) >= form.least:
                yield hits[begin][0], hits[end - 1][0] + SHORT - 1
            begin = end


def _hits(forms: Iterable[_Form], bare: str, size: int) -> Mapping[_Form, list[tuple[int, int]]]:
    """Return the places in `bare` of each form's pieces, with their places in the form."""
    index: dict[str, list[tuple[_Form, int]]] = {}
    for form in forms:
        for offset in _places(form.text, size):
            index.setdefault(form.text[offset : offset + size], []).append((form, offset))
    hits: dict[_Form, list[tuple[int, int]]] = {}
    for at in _places(bare, size):
        for form, offset in index.get(bare[at : at + size], ()):
            hits.setdefault(form, []).append((at, offset))
    return hits


def _places(text: str, size: int) -> range:
    """Return the places at which a piece of a text can begin."""
    return range(len(text) - size + 1)


def _covered(offsets: Iterable[int], size: int) -> int:
    """Return how many characters the pieces at `offsets`, which are sorted, cover."""
    covered = end = 0
    for offset in offsets:
        covered += offset + size - max(end, offset)
        end = offset + size
    return covered


def _runs(places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last letter of each run of overlapping pieces."""
    first = last = places[0]
    for place in places[1:]:
        if place > last + PIECE:
            yield first, last + PIECE - 1
            first = place
        last = place
    yield first, last + PIECE - 1


def _replaced(text: str, at: list[int], runs: Iterable[tuple[int, int]]) -> str:
    """Replace runs of letters, and what lies within them, by `HIDDEN`; `at` has their places."""
    parts: list[str] = []
    done = 0
    for first, last in runs:
        start, end = at[first], at[last] + 1
        if start >= done:
            parts += [text[done:start], HIDDEN]
        done = max(done, end)
    return "".join([*parts, text[done:]])
