"""Self-hosted servers: address and authentication, requests, and errors that are common to them.

The settings of a server share a prefix: `X_URL`, and `X_USER` with `X_PASSWORD` or `X_TOKEN` if a
proxy before the server requires them.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
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
from backends.json_values import loads
from backends.settings import host_of, key, setting
from backends.wording import retry_phrase

if TYPE_CHECKING:
    import httpx2

    StatusMapper: TypeAlias = Callable[[httpx2.Response, "SelfHostedServer"], BackendError]


NOT_SHARED: Final = "Whoever runs this Lineup does not share this server with visitors."


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfHostedServer:
    """Address and authentication of a server, read anew for each job and never stored.

    `example` is a valid address of this kind of server, for error sentences.
    """

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
        """Read the settings with `prefix`; `unset` is the error sentence for a missing address.

        Raises:
            NotReady: the address is missing or invalid, or the server is not for visitors.
            WrongKey: the token cannot be sent in a header.
        """
        url = setting(config, f"{prefix}_URL")
        if url is None:
            raise NotReady(unset)
        invalid = _invalid_address(prefix, example)
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port  # an invalid port raises here
        except ValueError as error:
            raise NotReady(invalid) from error
        if parts.scheme not in ("http", "https") or not host:
            raise NotReady(invalid)
        # A password in the address would end up in logs: it is sent in a header instead.
        address = parts._replace(netloc=host_of(url), query="", fragment="").geturl().rstrip("/")
        user, password = (unquote(part) for part in (parts.username or "", parts.password or ""))
        server = cls(
            prefix=prefix,
            url=address,
            example=example,
            user=setting(config, f"{prefix}_USER") or user or None,
            password=setting(config, f"{prefix}_PASSWORD") or password or None,
            token=key(config, f"{prefix}_TOKEN"),
        )
        if config.visitors and not (
            (server.password and config.has_key(f"{prefix}_PASSWORD"))
            or (server.token and config.has_key(f"{prefix}_TOKEN"))
        ):
            raise NotReady(NOT_SHARED)
        return server

    @property
    def name(self) -> str:
        """The name of the server at the beginning of a sentence."""
        return f"The server at {host_of(self.url)}"

    @property
    def invalid_address(self) -> str:
        """The error sentence for an address that httpx2 rejects."""
        return _invalid_address(self.prefix, self.example)

    @property
    def headers(self) -> dict[str, str]:
        """The authentication headers of every request."""
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.user is None:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password or ''}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Password and token, to be removed from messages."""
        return tuple(filter(None, (self.password, self.token)))


def _invalid_address(prefix: str, example: str) -> str:
    return f"{prefix}_URL must be an address like {example}."


MISSING_ROUTE: Final = frozenset({404, 405, 501})
LARGE_JSON: Final = 65_536
"""Bytes of JSON above which parsing would block the event loop."""


class SelfHostedClient:
    """Requests to one server for one job; a subclass adds those of one kind of server."""

    def __init__(self, client: "httpx2.AsyncClient", server: SelfHostedServer) -> None:
        self._client = client
        self.server = server

    async def get(self, path: str) -> Any:
        """Return the JSON response of a GET request to `path`.

        Raises:
            httpx2.HTTPError: there is no response, or its status is an error.
            ValueError: the response is not JSON.
        """
        return await self._json(await self._send("GET", path))

    async def optional(self, path: str) -> Any | None:
        """Return the JSON response of `path`, None if the server has no such route.

        Raises:
            httpx2.HTTPError: there is no response, or its status is another error.
            ValueError: the response is not JSON.
        """
        response = await self._send("GET", path)
        return None if response.status_code in MISSING_ROUTE else await self._json(response)

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        has_pictures: bool = False,
        **more: Any,
    ) -> "httpx2.Response":
        """Send a request; only an answer that `has_pictures` may be as large as several of them."""
        from backends.http.limits import MAX_QUERY_BYTES

        return await self._client.request(
            method,
            f"{self.server.url}{path}",
            headers={**self.server.headers, **(headers or {})},
            extensions={} if has_pictures else {"max_bytes": MAX_QUERY_BYTES},
            **more,
        )

    async def _json(self, response: "httpx2.Response") -> Any:
        response.raise_for_status()
        if len(response.content) < LARGE_JSON:
            return loads(response.content)
        return await asyncio.to_thread(loads, response.content)


def explain(
    error: Exception,
    server: SelfHostedServer,
    status_error: "StatusMapper",
    *,
    sent: bool,
    start: str,
    api: str,
) -> BackendError:
    """Map an exception from calling a server to a `BackendError`.

    `status_error` maps a status whose meaning depends on the kind of server. `sent` is True once
    the job was sent. `start` is the advice how to start the server, `api` the name of the format of
    its responses.
    """
    failure = _failure(error, server, status_error, start=start, api=api)
    return unanswered(server, sent=sent) if isinstance(failure, Unanswered) else failure


def unanswered(server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Return the error for a missing response, whose outcome is unknown if the job was `sent`."""
    if not sent:
        return TimedOut(
            f"{server.name} does not answer. Nothing was sent. "
            "Look whether it is still starting or busy, and try again."
        )
    return Unanswered(
        f"{server.name} took the request and did not finish its answer. It may be drawing still: "
        "look at it before you try again."
    )


def _failure(
    error: Exception,
    server: SelfHostedServer,
    status_error: "StatusMapper",
    *,
    start: str,
    api: str,
) -> BackendError:
    import httpx2

    from backends.http.limits import AnswerRefused

    setting = f"{server.prefix}_URL"
    match error:
        case BackendError():
            return error
        case httpx2.HTTPStatusError(response=response):
            return _common_status_error(response, server) or status_error(response, server)
        case AnswerRefused():
            return ServiceFault(
                f"{server.name} sent {error}, which Lineup does not read. Check {setting}, and "
                "look at the server."
            )
        case httpx2.RequestError():
            advice = f"{start}, and check {setting}."
            return transport_failure(error, server.name, advice=advice)
        case httpx2.InvalidURL():
            return NotReady(server.invalid_address)
        case ValueError():  # not JSON
            return ServiceFault(
                f"{server.name} sent an answer that is cut short or not of {api}. "
                f"Check {setting}, then try again."
            )
        case _:
            return ServiceFault(
                f"{server.name} sent an answer that makes no sense ({type(error).__name__})."
            )


def _common_status_error(
    response: "httpx2.Response", server: SelfHostedServer
) -> BackendError | None:
    """Map a status that has the same meaning for all servers, None for any other."""
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
