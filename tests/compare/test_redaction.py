"""No key comes out of a text, however a service writes it; other text stays as it is."""

import base64
import json
import logging
import random
import string
import sys
from collections.abc import Callable
from urllib.parse import quote

import pytest

from compare.redaction import HIDDEN, clean_text, redact, redact_logs

KEYS = (
    "sk-proj-Xy7_Lm2QpRs9TuVwZa3BcDe4FgHi5JkLmNo6PqRs",
    "hf_AbCdEfGhIjKlMnOpQrStUvWx",
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
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", KEYS)
def test_every_form_of_a_key_is_hidden(key: str, form: str) -> None:
    if key == KEYS[2] and form in ("spaced", "lines", "zero width", "list", "reversed"):
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
    hook = sys.excepthook
    try:
        redact_logs(lambda text: redact(text, KEYS))
        log = logging.getLogger("httpx2.example")
        handler = logging.StreamHandler()
        log.addHandler(handler)
        try:
            raise ValueError(f"Bearer {KEYS[0]}")
        except ValueError:
            log.exception("a request with %s failed", KEYS[1])
        log.error("%d", "no number")
        log.removeHandler(handler)
    finally:
        logging.setLogRecordFactory(before)
        sys.excepthook = hook
    printed = capsys.readouterr().err
    assert HIDDEN in printed and "ValueError" in printed
    assert KEYS[0] not in printed and KEYS[1] not in printed
