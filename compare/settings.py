"""Settings from environment variables, then from the file `.env` beside `app.py`.

LINEUP_ENV_FILE names another file. The folder from which a command is typed does not matter: it may
hold the `.env` of another project.

A key is looked up by name whenever it is needed; it is never a field and never in a repr, and
`hide` removes it from any text that is about to be shown or logged.
"""

import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backends.base import Config
from backends.paths import PROJECT
from backends.settings import host_of, unquoted
from compare.redaction import HIDDEN, redact
from compare.visitor_keys import BELONGS_TO, is_secret, typed_key, typed_keys

_SHARE = "LINEUP_SHARE_KEYS"
_ADDRESSES = frozenset({"DISCORD_API_BASE", "HF_ENDPOINT", "HF_INFERENCE_BASE", "OPENAI_SERVERS"})
_ADDRESS = re.compile(r"https?://[^\s,]+")
_ANY_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s,\"']+", re.IGNORECASE)
_SECRETIVE = re.compile("PASS|CREDENTIAL|AUTH|COOKIE|SIGNATURE", re.IGNORECASE)
_PLACES = ("_PATH", "_FILE", "_DIR", "_SOCK", "_URL")
"""Endings of names like HF_TOKEN_PATH: the setting says where a key is, and holds none."""


class SettingsError(Exception):
    """A setting is invalid; `str(error)` says which."""


class Settings(BaseSettings):
    """Lineup's own settings as fields, and every other setting by its name."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(default=Path("data"), validation_alias="LINEUP_HOME")
    hourly_rate: Decimal | None = Field(default=None, ge=0, validation_alias="LINEUP_HOURLY_RATE")
    daily_budget: Decimal | None = Field(default=None, ge=0, validation_alias="LINEUP_DAILY_BUDGET")

    host_names: str = Field(default="", validation_alias="LINEUP_HOSTS")
    visitor_steps: int = Field(default=100, ge=1, validation_alias="LINEUP_VISITOR_STEPS")
    visitor_pictures: int = Field(default=8, ge=1, validation_alias="LINEUP_VISITOR_PICTURES")
    visitor_jobs: int = Field(default=60, ge=1, validation_alias="LINEUP_VISITOR_JOBS")

    _for_visitors: bool = PrivateAttr(default=False)
    _keys_shared: bool = PrivateAttr(default=False)
    _attended: bool = PrivateAttr(default=False)
    _from_file: dict[str, SecretStr] = PrivateAttr(default_factory=dict[str, SecretStr])

    @field_validator("*", mode="before")
    @classmethod
    def _unquoted(cls, value: object) -> object:
        return unquoted(value) if isinstance(value, str) else value

    def model_post_init(self, context: Any, /) -> None:
        """Read `.env` once, so that keys do not change during a run."""
        for name, value in dotenv_values(_env_file()).items():
            if value:
                self._from_file[name] = SecretStr(value)

    @classmethod
    def read(cls) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a setting has an invalid value.
        """
        try:
            return cls(_env_file=_env_file())  # pyright: ignore[reportCallIssue]
        except ValidationError as error:
            names = ", ".join(str(detail["loc"][0]) for detail in error.errors())
            raise SettingsError(f"The setting {names} has a value that makes no sense.") from None

    def for_visitors(self) -> "Settings":
        """Return the settings that visitors of a public address may use.

        They do not include the owner's keys, unless the owner has set LINEUP_SHARE_KEYS=1.

        Raises:
            SettingsError: keys are shared without a daily budget.
        """
        public = self.model_copy()
        public._for_visitors = self._read(_SHARE) != "1"
        public._keys_shared = not public._for_visitors
        if not public._for_visitors and self.daily_budget is None:
            raise SettingsError(
                f"{_SHARE}=1 lets visitors spend your keys. Say with LINEUP_DAILY_BUDGET how many "
                "US dollars a day they may spend at most."
            )
        return public

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which a proxy serves the app to others, in lower case."""
        names = self.host_names.lower().replace(",", " ").split()
        return tuple(name.partition(":")[0] for name in names)

    def attended(self) -> "Settings":
        """Return these settings for a page at which a person can upload pictures to cards."""
        attended = self.model_copy()
        attended._attended = True
        return attended

    @property
    def public(self) -> bool:
        """Whether visitors of a public address use these settings, with or without shared keys."""
        return self._for_visitors or self._keys_shared

    @property
    def lends_keys(self) -> bool:
        """Whether visitors of a public address spend the owner's keys."""
        return self._keys_shared and not self._for_visitors

    def without_lent_keys(self) -> "Settings":
        """Return these settings without the shared keys: visitors use only their own."""
        own = self.model_copy()
        own._for_visitors = self.public
        return own

    def value(self, name: str) -> str | None:
        """Return the setting called `name`, None if it is unset, empty, or not for visitors.

        A key that the visitor has typed takes precedence. At a public address a setting that
        belongs to a key is of whoever the key is: else a visitor would choose what the owner's key
        is used for.
        """
        if self.public and (key := BELONGS_TO.get(name)):
            return typed_key(name) if typed_key(key) else self._lent(name)
        if typed := typed_key(name):
            return typed
        return self._lent(name) if is_secret(name) else self._read(name)

    def _lent(self, name: str) -> str | None:
        return None if self._for_visitors else self._read(name)

    def _read(self, name: str) -> str | None:
        if value := os.environ.get(name):
            return value
        secret = self._from_file.get(name)
        return secret.get_secret_value() if secret else None

    def config(self) -> Config:
        """Return the configuration of the backends."""
        return Config(
            value=self.value,
            home=self.home,
            attended=self._attended,
            visitors=self.public,
            has_key=lambda name: bool((self._read(name) or "").strip()),
        )

    def hide(self, text: str) -> str:
        """Return `text` without any key that is set or typed, in whatever form it occurs.

        At a public address the addresses of the owner's servers are left out too.
        """
        if not text:
            return text
        return self.hide_addresses(redact(text, self._secrets()))

    def hide_addresses(self, text: str) -> str:
        """Return `text` without the addresses of the owner's servers, at a public address."""
        if self.public:
            for address in self._addresses():
                if len(address) > 3:  # a host of one letter is in every word
                    text = text.replace(address, HIDDEN)
        return text

    def _addresses(self) -> Iterator[str]:
        """Yield the owner's server addresses, their hosts with and without a port."""
        for name in {**os.environ, **self._from_file}:
            if name.endswith("_URL") or name in _ADDRESSES:
                for address in _ADDRESS.findall(self._read(name) or ""):
                    yield from (address, host_of(address), urlsplit(address).hostname or address)

    def _secrets(self) -> Iterator[str]:
        """Yield every key, and the keys within addresses.

        A key of `.env` counts even if the environment has another one in its place.
        """
        from_file = ((name, key.get_secret_value()) for name, key in self._from_file.items())
        for name, value in (*os.environ.items(), *from_file):
            if _holds_key(name):
                yield value
            if "://" in value:
                for address in _ANY_ADDRESS.findall(value):
                    yield from _keys_of_address(address)
        yield from typed_keys()


def _env_file() -> Path:
    return Path(os.environ.get("LINEUP_ENV_FILE") or PROJECT / ".env")


def _holds_key(name: str) -> bool:
    """Return whether the value of a setting, of Lineup or of any other program, is to be hidden."""
    return (is_secret(name) or bool(_SECRETIVE.search(name))) and not name.endswith(_PLACES)


def _keys_of_address(address: str) -> Iterator[str]:
    """Yield the keys in an address: http://user:KEY@host, http://KEY@host, http://host?token=KEY.

    Each is yielded as it is written, and decoded.
    """
    _, _, rest = address.partition("://")
    user, at, _ = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")
    if not at:  # a password may hold a slash that should have been encoded
        user, at, _ = rest.rpartition("@")
    if at:
        name, colon, password = user.partition(":")
        key = password if colon else name
        yield from (key, unquote(key))
    for name, key in parse_qsl(rest.partition("?")[2]):
        if is_secret(name) or _SECRETIVE.search(name) or name.lower() == "sig":
            yield from (key, quote(key))
