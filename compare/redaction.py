"""Keep keys out of texts: whatever is shown, stored or logged passes `redact`.

A hostile service can echo a key in any field, and in any dress: upper case, base64, hex, URL
encoding, with spaces in between, or but for a few characters. So texts are compared with each
form of each key by their letters and digits alone, in pieces of eight: n-gram matching, linear in
the length of the text.
"""

import base64
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

HIDDEN: Final = "[hidden]"
PIECE: Final = 8
"""Letters and digits of a piece. A shorter key is not searched for: ordinary words have it."""
SHARE: Final = 0.4
"""The share of a key whose pieces must occur; services show the first and last few on purpose."""


Hide = Callable[[str], str]
"""Removes keys from a text (`Settings.hide`)."""
MAX_SENTENCE: Final = 2_000
# All control characters but tab and newline, and what turns the direction of text round.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of a key, its letters and digits in lower case."""

    text: str

    @property
    def least(self) -> int:
        """How many of its characters must occur."""
        return max(PIECE, round(SHARE * len(self.text)))


def redact(text: str, keys: Iterable[str]) -> str:
    """Return `text` with every form of each of `keys`, whole or in large part, as "[hidden]".

    A key of mostly other characters than letters and digits is only found as it is written, in any
    case.
    """
    distinct = tuple(sorted(set(keys)))
    for written in _symbolic(distinct):
        text = written.sub(HIDDEN, text)
    index = _index(distinct)
    if not index or not text:
        return text
    letters = [(at, letter) for at, letter in _letters(text)]
    bare = "".join(letter for _, letter in letters)
    seen: dict[_Form, set[int]] = {}
    found: dict[_Form, list[int]] = {}
    for at in range(len(bare) - PIECE + 1):
        for form, offset in index.get(bare[at : at + PIECE], ()):
            seen.setdefault(form, set()).update(range(offset, offset + PIECE))
            found.setdefault(form, []).append(at)
    runs = [
        run
        for form, places in found.items()
        if len(seen[form]) >= form.least
        for run in _runs(places)
    ]
    return _replaced(text, [at for at, _ in letters], sorted(runs))


def clean_text(text: object, hide: Hide, most: int = MAX_SENTENCE) -> str:
    """Return a text from a service as it may be stored and shown."""
    cleaned = str(text)[: most + 1]
    if not cleaned:
        return ""
    cleaned = cleaned.encode("utf-8", "replace").decode("utf-8")
    cleaned = hide(_CONTROL.sub("", cleaned))
    return cleaned if len(cleaned) <= most else f"{cleaned[: most - 1]}…"


def redact_logs(hide: Hide) -> None:
    """Let every log record and every traceback of an uncaught exception pass `hide`.

    Tracebacks hold what libraries put into their errors: addresses, headers, whole requests.
    """
    make = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            record.msg, record.args = hide(record.getMessage()), None
            if record.exc_info and record.exc_info[0]:
                record.exc_text = hide("".join(traceback.format_exception(*record.exc_info)))
        except Exception as error:  # a record that cannot be formatted must not stop the program
            record.msg, record.args = (
                f"A message could not be written: {type(error).__name__}",
                None,
            )
            record.exc_info = None
        return record

    def print_exception(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        sys.stderr.write(hide("".join(traceback.format_exception(kind, error, trace))))

    logging.setLogRecordFactory(factory)
    sys.excepthook = print_exception


def _letters(text: str) -> Iterator[tuple[int, str]]:
    """Yield the letters and digits of ASCII with their places, in lower case."""
    for at, character in enumerate(text):
        if character.isascii() and character.isalnum():
            yield at, character.lower()


@lru_cache(maxsize=64)
def _index(keys: tuple[str, ...]) -> Mapping[str, list[tuple[_Form, int]]]:
    """Return the pieces of all forms of all keys, each with its forms and its place in them."""
    index: dict[str, list[tuple[_Form, int]]] = {}
    for form in {form for key in keys for form in _forms(key)}:
        for offset in range(len(form.text) - PIECE + 1):
            index.setdefault(form.text[offset : offset + PIECE], []).append((form, offset))
    return index


@lru_cache(maxsize=64)
def _symbolic(keys: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of those keys that have too few letters and digits for a piece."""
    few = [key for key in keys if len(key) >= PIECE > sum(1 for _ in _letters(key))]
    forms = {form for key in few for form in (key, json.dumps(key)[1:-1])}
    return tuple(re.compile(re.escape(form), re.IGNORECASE) for form in sorted(forms))


def _forms(key: str) -> Iterator[_Form]:
    """Yield the forms in which a key may be written.

    In base64 a key looks different by its place in the encoded bytes, modulo 3: the characters
    that other bytes have a part in are left out.
    """
    data = key.encode(errors="replace")
    texts = [key, key[::-1], quote(key, safe=""), data.hex()]
    texts.append("".join(f"%{byte:02x}" for byte in data))
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        first = -(-8 * before // 6)
        whole = (8 * (before + len(data))) // 6
        texts.append(encoded[first:whole])
    for text in texts:
        bare = "".join(letter for _, letter in _letters(text))
        if len(bare) >= PIECE:
            yield _Form(bare)


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
