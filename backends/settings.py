"""Read a backend's settings: trimmed, and validated before any request uses them."""

from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from backends.base import Config
from backends.errors import NotReady, WrongKey


def setting(config: Config, name: str) -> str | None:
    """Return the setting `name`, None if it is unset or blank."""
    return (config.value(name) or "").strip() or None


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

    Raises:
        WrongKey: it has characters that cannot be sent in a header.
    """
    value = setting(config, name)
    if value is not None and not (value.isascii() and value.isprintable()):
        raise WrongKey(f"{name} holds characters that no key has. Copy it again.")
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
