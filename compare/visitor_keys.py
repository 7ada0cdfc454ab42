"""Keys typed by a visitor, for this visit only.

They are held in the visitor's session on the server, and in a context variable, which each task
copies when it is created: so the tasks of the visitor's runs see them and no other task does. They
are never stored and never logged.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

MAX_KEY: Final = 500
"""Characters of a key that a visitor may type."""

_typed: ContextVar[Mapping[str, str]] = ContextVar("typed", default=MappingProxyType({}))


@contextmanager
def visitor_keys(keys: Mapping[str, str]) -> Generator[None]:
    """Make `keys` (by setting) available to everything that is started within this context.

    Settings that a visitor may not set, such as addresses and limits, are ignored, and so is what
    is too long for a key.
    """
    typed = {
        name: key.strip()
        for name, key in keys.items()
        if visitor_may_set(name) and key.strip() and len(key) <= MAX_KEY
    }
    token = _typed.set(typed)
    try:
        yield
    finally:
        _typed.reset(token)


def typed_key(name: str) -> str | None:
    """Return the key that this task's visitor has typed for the setting `name`."""
    return _typed.get().get(name)


def typed_keys() -> tuple[str, ...]:
    """Return all keys that this task's visitor has typed, so that they can be hidden."""
    return tuple(key for name, key in _typed.get().items() if is_secret(name))


BELONGS_TO: Mapping[str, str] = MappingProxyType(
    {
        "MIDJOURNEY_CHANNEL": "DISCORD_BOT_TOKEN",
        "OPENAI_ORG_ID": "OPENAI_API_KEY",
        "OPENAI_PROJECT_ID": "OPENAI_API_KEY",
    }
)
"""Settings that say what a key is used for: they are of whoever the key is."""


def visitor_may_set(name: str) -> bool:
    """Return whether a visitor may set `name`: a key, or a setting that belongs to one."""
    return is_secret(name) or name == "MIDJOURNEY_CHANNEL"


def is_secret(name: str) -> bool:
    """Return whether the setting called `name` holds a key."""
    return any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))
