"""Settings as a backend reads them: trimmed, and checked before anything is sent with them."""

from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from backends.base import Config
from backends.errors import NotReady, WrongKey


def setting(config: Config, name: str) -> str | None:
    """Return the setting `name`, None where it is unset or blank."""
    return (config.value(name) or "").strip() or None


def address(config: Config, name: str, usual: str) -> str:
    """Return the address of a service, without a slash at its end.

    Raises:
        NotReady: what is set is no address.
    """
    url = (setting(config, name) or usual).rstrip("/")
    if not url.startswith(("http://", "https://")) or not host_of(url):
        raise NotReady(f"{name} must be an address like {usual}.")
    return url


def key(config: Config, name: str) -> str | None:
    """Return a key, None where there is none.

    Raises:
        WrongKey: what is set could not even be sent.
    """
    value = setting(config, name)
    if value is not None and not (value.isascii() and value.isprintable()):
        raise WrongKey(f"{name} holds characters that no key has. Copy it again.")
    return value


def positive_number(config: Config, name: str, *, zero: bool = False) -> Decimal | None:
    """Return a setting that is a number above zero (or zero), None for whatever else it is."""
    try:
        number = Decimal(setting(config, name) or "")
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or (number == 0 and not zero):
        return None
    return number


def host_of(url: str) -> str:
    """Return host and port of `url`, without the user and password that it may hold."""
    return urlsplit(url).netloc.rpartition("@")[2]
