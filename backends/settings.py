"""Read a backend's settings: trimmed, and validated before any request uses them."""

import re
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from backends.base import Config
from backends.errors import NotReady, WrongKey


def setting(config: Config, name: str) -> str | None:
    """Return the setting `name`, None if it is unset or blank."""
    return unquoted(config.value(name) or "") or None


def unquoted(text: str) -> str:
    """Return `text` without spaces around it and without one pair of quotes.

    `docker run --env-file` keeps the quotes of a line like KEY="...", which a shell takes off.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def address(config: Config, name: str, default: str) -> str:
    """Return the base URL of a service, without a trailing slash.

    Raises:
        NotReady: the setting is not an HTTP URL.
    """
    url = (setting(config, name) or default).rstrip("/")
    if not url.startswith(("http://", "https://")) or not host_of(url):
        raise NotReady(f"{name} must be an address like {default}.")
    return url


def key(config: Config, name: str) -> str | None:
    """Return an API key, None if it is unset.

    The word Bearer before it, from a copied header, is not part of it.

    Raises:
        WrongKey: it has characters that cannot be sent in a header, or that no key has.
    """
    value = re.sub(r"(?i)^(authorization:\s*)?bearer\s+", "", setting(config, name) or "")
    value = unquoted(value)
    if not value:
        return None
    if not (value.isascii() and value.isprintable()) or re.search("[\\s\"'“”‘’]", value):
        raise WrongKey(
            f"{name} holds characters that no key has, such as spaces or quotes. Copy it again."
        )
    return value


def positive_number(config: Config, name: str, *, zero: bool = False) -> Decimal | None:
    """Return a setting as a number above zero (or zero, with `zero`), None if it is not one."""
    try:
        number = Decimal(setting(config, name) or "")
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or (number == 0 and not zero):
        return None
    return number


def host_of(url: str) -> str:
    """Return host and port of `url`, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
