"""A server that Lineup's owner runs: where it is, and how it lets one in.

Its settings share a prefix: `X_URL`, `X_USER` and `X_PASSWORD` or `X_TOKEN` where something before
it asks for them.

Requests to a server that Lineup's owner runs, each with what lets one in.

What fails with any server that Lineup's owner runs, as a sentence for the card.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from backends.base import Config
from backends.errors import (
    BackendError,
    NotReady,
    RateLimited,
    ServiceFault,
    TimedOut,
    Unanswered,
)
from backends.http.client import retry_after
from backends.http.errors import transport_failure
from backends.settings import host_of, key, setting
from backends.wording import retry_phrase

if TYPE_CHECKING:
    import httpx2

    Answered: TypeAlias = Callable[[httpx2.Response, "SelfHostedServer"], BackendError]


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfHostedServer:
    """Where requests go; read anew for each job, kept by nobody."""

    prefix: str
    url: str
    example: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def from_config(
        cls, config: Config, prefix: str, *, example: str, unset: str
    ) -> "SelfHostedServer":
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
        bare = parts._replace(netloc=host_of(url), query="", fragment="").geturl().rstrip("/")
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
        return f"The server at {host_of(self.url)}"

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


MISSING_ROUTE = frozenset({404, 405, 501})
LARGE = 65_536
"""Bytes of JSON whose reading would hold up the event loop."""


class SelfHostedClient:
    """The way to one server, for one job; what one kind of server takes is added by its own."""

    def __init__(self, client: "httpx2.AsyncClient", server: SelfHostedServer) -> None:
        self._client = client
        self.server = server

    async def get(self, path: str) -> Any:
        """Return the JSON that `path` answers.

        Raises:
            httpx2.HTTPError: there is no answer, or its status says that something is wrong.
            ValueError: the answer is not JSON.
        """
        return await self._json(await self._send("GET", path))

    async def optional(self, path: str) -> Any | None:
        """Return what `path` answers, None where the server has no such route; raises as `get`."""
        response = await self._send("GET", path)
        return None if response.status_code in MISSING_ROUTE else await self._json(response)

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> "httpx2.Response":
        return await self._client.request(
            method,
            f"{self.server.url}{path}",
            headers={**self.server.headers, **(headers or {})},
            **more,
        )

    async def _json(self, response: "httpx2.Response") -> Any:
        response.raise_for_status()
        if len(response.content) < LARGE:
            return json.loads(response.content)
        return await asyncio.to_thread(json.loads, response.content)


def explain(
    error: Exception,
    server: SelfHostedServer,
    answered: "Answered",
    *,
    sent: bool,
    start: str,
    api: str,
) -> BackendError:
    """Return what `error` means for the person at the card; `sent` says how far the job was.

    `answered` reads an answer whose status only this kind of server explains. `start` is how one
    is started, and `api` what its answers are.
    """
    fault = _fault(error, server, answered, start=start, api=api)
    return unanswered(server, sent=sent) if isinstance(fault, Unanswered) else fault


def unanswered(server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Nobody knows what became of the job."""
    if not sent:
        return TimedOut(
            f"{server.name} does not answer. Nothing was sent. "
            "Look whether it is still starting or busy, and try again."
        )
    return Unanswered(
        f"{server.name} took the request and did not finish its answer. It may be drawing still: "
        "look at it before you try again."
    )


def _fault(
    error: Exception, server: SelfHostedServer, answered: "Answered", *, start: str, api: str
) -> BackendError:
    import httpx2

    setting = f"{server.prefix}_URL"
    match error:
        case BackendError():
            return error
        case httpx2.HTTPStatusError(response=response):
            return _usual(response, server) or answered(response, server)
        case httpx2.RequestError():
            advice = f"{start}, and check {setting}."
            return transport_failure(error, server.name, advice=advice)
        case httpx2.InvalidURL():
            return NotReady(server.nonsense)
        case ValueError():  # not JSON
            return ServiceFault(
                f"{server.name} sent an answer that is cut short or not of {api}. "
                f"Check {setting}, then try again."
            )
        case _:
            return ServiceFault(
                f"{server.name} sent an answer that makes no sense ({type(error).__name__})."
            )


def _usual(response: "httpx2.Response", server: SelfHostedServer) -> BackendError | None:
    """What a status means whoever sends it, None where the kind of server matters."""
    status, name = response.status_code, server.name
    match status:
        case 429:
            wait = retry_after(response.headers)
            return RateLimited(
                f"{name} takes no more requests for now. Try again {retry_phrase(wait)}.",
                retry_after=wait,
            )
        case 504 | 524:  # a tunnel gave up waiting, the server behind it may go on
            return unanswered(server, sent=True)
        case 502 | 503:
            return ServiceFault(
                f"{name} is down, starting or overloaded ({status}). Look at it, then try again."
            )
        case _ if 300 <= status < 400:
            moved = f"Set {server.prefix}_URL to its new address."
            return NotReady(f"{name} says that it has moved. {moved}")
        case _:
            return None
