"""A server that Lineup's owner runs: where it is, and how it lets one in.

Its settings share a prefix: `X_URL`, `X_USER` and `X_PASSWORD` or `X_TOKEN` where something before
it asks for them.
"""

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from backends.base import Config
from backends.errors import NotReady
from backends.http.errors import place
from backends.settings import key, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnServer:
    """Where requests go; read anew for each job, kept by nobody."""

    prefix: str
    url: str
    example: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def of(cls, config: Config, prefix: str, *, example: str, unset: str) -> "OwnServer":
        """Read the settings; `unset` is the sentence for where there is no address.

        Raises:
            NotReady: there is no address, or it makes no sense.
        """
        url = setting(config, f"{prefix}_URL")
        if url is None:
            raise NotReady(unset)
        nonsense = _nonsense(prefix, example)
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port  # a port that is none raises here
        except ValueError as error:
            raise NotReady(nonsense) from error
        if parts.scheme not in ("http", "https") or not host:
            raise NotReady(nonsense)
        # A password in the address would end up in logs: it travels as a header instead.
        bare = parts._replace(netloc=place(url), query="", fragment="").geturl().rstrip("/")
        user, password = (unquote(part) for part in (parts.username or "", parts.password or ""))
        return cls(
            prefix=prefix,
            url=bare,
            example=example,
            user=setting(config, f"{prefix}_USER") or user or None,
            password=setting(config, f"{prefix}_PASSWORD") or password or None,
            token=key(config, f"{prefix}_TOKEN"),
        )

    @property
    def name(self) -> str:
        """Who answers, as a sentence begins."""
        return f"The server at {place(self.url)}"

    @property
    def nonsense(self) -> str:
        """What to say of an address that turns out to be none."""
        return _nonsense(self.prefix, self.example)

    @property
    def headers(self) -> dict[str, str]:
        """What every request says of who asks."""
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.user is None:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password or ''}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read."""
        return tuple(filter(None, (self.password, self.token)))


def _nonsense(prefix: str, example: str) -> str:
    return f"{prefix}_URL must be an address like {example}."
