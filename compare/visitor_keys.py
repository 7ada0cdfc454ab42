"""Keys that a visitor typed, for this visit only.

They live in the visitor's own session on the server and in the tasks of the runs that the visitor
starts: a context variable, which a task takes along when it is made. They are never stored and
never logged, and no other visitor's task can see them.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_typed: ContextVar[Mapping[str, str]] = ContextVar("typed", default=MappingProxyType({}))


@contextmanager
def visitor_keys(keys: Mapping[str, str]) -> Generator[None]:
    """Let everything that is started in here use `keys`, by their settings' names.

    Only what a visitor may type counts: addresses and limits are the owner's to set.
    """
    typed = {
        name: key.strip() for name, key in keys.items() if visitor_may_set(name) and key.strip()
    }
    token = _typed.set(typed)
    try:
        yield
    finally:
        _typed.reset(token)


def typed_key(name: str) -> str | None:
    """Return the key that the visitor of this task has typed under `name`."""
    return _typed.get().get(name)


def typed_keys() -> tuple[str, ...]:
    """Return all keys that the visitor of this task has typed, to hide them."""
    return tuple(key for name, key in _typed.get().items() if is_secret(name))


def visitor_may_set(name: str) -> bool:
    """Whether a visitor may type the setting called `name`: a key, or what goes with one."""
    return is_secret(name) or name == "MIDJOURNEY_CHANNEL"


def is_secret(name: str) -> bool:
    """Whether the setting called `name` holds a key."""
    return any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))
