"""No key comes out of a text, however a service writes it; other text stays as it is."""

import base64
import codecs
import json
import logging
import random
import string
import sys
import threading
import time
import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest

from backends.wording import service_message
from compare.redaction import HIDDEN, clean_text, redact, redact_logs

KEYS = (
    "sk-proj-Xy7_Lm2QpRs9TuVwZa3BcDe4FgHi5JkLmNo6PqRs",
    "hf_QzXvBtNpWdRjLsGhKcMfYaUe",
    "p4ss w+rd/%&=ü",
    'quote"back\\slash-key-77',
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "lower": str.lower,
    "upper": str.upper,
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    "url": lambda key: quote(key, safe=""),
    "percent": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "json": lambda key: json.dumps(key)[1:-1],
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of one before": lambda key: base64.b64encode(f":{key}".encode()).decode(),
    "base64 of two before": lambda key: base64.b64encode(f"u:{key}".encode()).decode(),
    "urlsafe": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "spaced": " ".join,
    "lines": "\n".join,
    "zero width": "\u200b".join,
    "list": lambda key: str(list(key)),
    "reversed": lambda key: key[::-1],
    "URL twice": lambda key: quote(quote(key, safe=""), safe=""),
    "hex escapes": lambda key: "".join(f"\\x{byte:02x}" for byte in key.encode()),
    "bytes": lambda key: " ".join(f"0x{byte:02X}" for byte in key.encode()),
    "JSON escapes": lambda key: "".join(f"\\u{byte:04x}" for byte in key.encode()),
    "HTML": lambda key: "".join(f"&#{byte};" for byte in key.encode()),
    "codes": lambda key: str(list(key.encode())),
    "octal": lambda key: "".join(f"\\{byte:o}" for byte in key.encode()),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "hex of base64": lambda key: base64.b64encode(key.encode()).rstrip(b"=").hex(),
    "base32": lambda key: base64.b32encode(key.encode()).decode(),
    "base32 of two before": lambda key: base64.b32encode(b"u:" + key.encode()).decode(),
    "UTF-16": lambda key: key.encode("utf-16-be").hex(" "),
    "rot13": lambda key: codecs.encode(key, "rot13"),
    "full width": lambda key: "".join(
        chr(ord(each) + 0xFEE0) if " " < each < "\x7f" else each for each in key
    ),
    "accents": "\u0301".join,
}
LETTER_BY_LETTER = {"spaced", "lines", "zero width", "list", "reversed", "rot13"} | {
    "full width",
    "accents",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", KEYS)
def test_every_form_of_a_key_is_hidden(key: str, form: str) -> None:
    if key == KEYS[2] and form in LETTER_BY_LETTER:
        pytest.skip("a key of signs is found as it is written, not letter by letter")
    written = FORMS[form](key)
    shown = redact(f"Wrong key {written} for a red fox.", KEYS)
    assert shown.startswith("Wrong key ") and "for a red fox." in shown
    assert HIDDEN in shown and written not in shown
    left = shown.replace(HIDDEN, "").removeprefix("Wrong key ").removesuffix("for a red fox.")
    assert sum(character.isalnum() for character in left) < 8, shown


@pytest.mark.parametrize("key", KEYS[:2])
def test_a_key_but_for_a_few_characters_is_hidden(key: str) -> None:
    for written in (key[3:], key[:-3], key[2:-2], key[:12] + "****" + key[-12:]):
        assert written not in redact(f"key {written}.", KEYS)
    middle = len(key) // 2
    changed = key[:middle] + "?" + key[middle + 1 :]
    assert key[:middle] not in redact(changed, KEYS) and key[middle + 1 :] not in redact(
        changed, KEYS
    )


@pytest.mark.parametrize("key", KEYS[:2])
@pytest.mark.parametrize("every", [6, 7, 9])
def test_a_key_with_other_characters_here_and_there_is_hidden(key: str, every: int) -> None:
    changed = "".join("*" if at % every == every - 1 else each for at, each in enumerate(key))
    added = "".join(f"{each}q" if at % every == every - 1 else each for at, each in enumerate(key))
    for written in (changed, added, changed.replace("*", "")):
        shown = redact(f"Wrong key {written} for a red fox.", KEYS)
        assert HIDDEN in shown and len(shown) < len("Wrong key [hidden] for a red fox.") + 14


def test_what_services_show_of_a_key_stays() -> None:
    sentence = "Incorrect API key provided: sk-proj-****PqRs. See platform.openai.com."
    assert redact(sentence, KEYS) == sentence


def test_ordinary_text_stays() -> None:
    rng = random.Random(1)
    words = ["a", "red", "star", "project", "sk-proj-", "hf_", "password", "quote", "🦊"]
    for _ in range(50):
        text = " ".join(rng.choices(words, k=40)) + rng.choice(string.printable)
        assert redact(text, KEYS) == text
    assert redact("test the key", ["test", "key", ""]) == "test the key"


@pytest.mark.parametrize(
    "text",
    [" ".join(KEYS[0]) * 300, "sk-proj-" * 6_000, "a red star " * 5_000, "<" * 50_000],
    ids=["keys", "beginnings", "prose", "brackets"],
)
def test_a_long_text_takes_a_moment(text: str) -> None:
    keys = [f"{number}{key}" for number in range(5) for key in KEYS]
    redact("warm", keys)
    started = time.process_time()
    redact(text, keys)
    service_message(f"x{text}")
    assert time.process_time() - started < 2


def test_two_keys_side_by_side_are_two() -> None:
    assert redact(f"{KEYS[0]}, {KEYS[1]}", KEYS) == f"{HIDDEN}, {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("half \ud83e", "half ?"),
        ("nul\0 bell\x07 escape\x1b[31m", "nul bell escape[31m"),
        ("right\u202eleft\u2066", "rightleft"),
        ("two\nlines\tand 👩‍🎨", "two\nlines\tand 👩‍🎨"),
        ("x" * 3_000_000, "x" * 1_999 + "…"),
        (7, "7"),
        ("", ""),
    ],
    ids=["surrogate", "control", "direction", "kept", "long", "number", "empty"],
)
def test_text_of_a_service_can_be_stored_and_shown(text: object, cleaned: str) -> None:
    assert clean_text(text, str) == cleaned
    cleaned.encode()


def test_logs_hold_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogRecordFactory()
    stream = sys.stderr
    try:
        redact_logs(str)  # a second call takes the place of the first
        redact_logs(lambda text: redact(text, KEYS))
        log = logging.getLogger("httpx2.example")
        handler = logging.StreamHandler()
        log.addHandler(handler)
        try:
            raise ValueError(f"Bearer {KEYS[0]}")
        except ValueError as error:
            log.exception("a request with %s failed", KEYS[1])
            traceback.print_exc()  # as Gradio does
            sys.__excepthook__(type(error), error, error.__traceback__)
        log.error("%d", "no number")
        log.removeHandler(handler)
        thread = threading.Thread(target=lambda: print(KEYS[1], file=sys.stderr))
        thread.start()
        thread.join()
    finally:
        logging.setLogRecordFactory(before)
        sys.stderr = stream
    printed = capsys.readouterr().err
    assert printed.count("ValueError: Bearer [hidden]") == 3, "each traceback is there"
    assert KEYS[0] not in printed and KEYS[1] not in printed
