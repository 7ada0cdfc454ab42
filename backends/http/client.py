"""The HTTP client that all backends share: timeouts, limits, one client per event loop.

httpx2 takes a sixth of a second to import, so it is imported inside the functions that use it.
"""

import asyncio
import datetime
import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from weakref import WeakKeyDictionary

from backends.base import Config
from backends.errors import MissingPackage, NotReady

if TYPE_CHECKING:
    import httpx2

    Client: TypeAlias = httpx2.AsyncClient

MAX_CONNECTIONS = 256
MAX_IDLE_CONNECTIONS = 32
"""Connections that stay open while unused: httpx2 checks each of them when another one is freed."""

MAX_ANSWER_BYTES = 256_000_000
"""Bytes of the answer to one request for pictures: ten of 19 MB each in base64, more than any
service draws at once."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds: for a connection, for a complete response, and for a lost server.

    `reconnect` is the time without a sign of life after which a server is given up that has a job
    and keeps it: connections of wireless networks and tunnels come back after some seconds.
    """

    connect: float = 10.0
    answer: float = 600.0
    reconnect: float = 30.0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Read LINEUP_CONNECT_SECONDS, LINEUP_ANSWER_SECONDS and LINEUP_RECONNECT_SECONDS.

        Invalid values are ignored.
        """
        default = cls()
        return cls(
            _positive(config.value("LINEUP_CONNECT_SECONDS"), default.connect),
            _positive(config.value("LINEUP_ANSWER_SECONDS"), default.answer),
            _positive(config.value("LINEUP_RECONNECT_SECONDS"), default.reconnect),
        )

    def timeout(self) -> "httpx2.Timeout":
        """Return the limits for httpx2, without one for the wait for a free connection.

        Lanes limit how many requests wait.
        """
        import httpx2

        return httpx2.Timeout(self.answer, connect=self.connect, pool=None)


def max_answer_bytes(config: Config) -> int:
    """Return LINEUP_ANSWER_MB in bytes, `MAX_ANSWER_BYTES` if it is unset or invalid."""
    default = MAX_ANSWER_BYTES / 1e6
    return round(_positive(config.value("LINEUP_ANSWER_MB"), default) * 1e6)


def _positive(text: str | None, default: float) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return default
    return number if 0 < number < math.inf else default


def new_client(
    timeouts: Timeouts,
    transport: "httpx2.AsyncBaseTransport | None" = None,
    *,
    max_bytes: int = MAX_ANSWER_BYTES,
    public: bool = False,
) -> "Client":
    """Return a client for image services, whose answers have at most `max_bytes`.

    The environment's proxy is used, but never for services on this machine. Redirects of a POST
    are not followed: it would be sent, and perhaps billed, somewhere else. A `public` client
    connects to public addresses only.

    Raises:
        BackendError: the environment's proxy cannot be used.
    """
    import httpx2

    from backends.http.limits import LimitedClient
    from backends.http.public import PublicClient

    arguments: dict[str, Any] = {
        "max_bytes": max_bytes,
        "timeout": timeouts.timeout(),
        "limits": httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
        ),
        "follow_redirects": False,
    }
    try:
        if public and transport is None:
            return PublicClient(**arguments)
        return LimitedClient(
            transport=transport,
            mounts={f"all://{host}": transport for host in ("localhost", "127.0.0.1", "[::1]")},
            **arguments,
        )
    except ImportError as error:
        raise MissingPackage(
            "The environment names a SOCKS proxy, which needs `pip install 'httpx2[socks]'`."
        ) from error
    except ValueError as error:
        raise NotReady("The environment names a proxy whose address makes no sense.") from error


class ClientPool:
    """The clients of each event loop, since connections cannot be shared between loops.

    An answer has at most `max_bytes`, or LINEUP_ANSWER_MB if that is less.
    """

    def __init__(
        self,
        config: Config,
        transport: "httpx2.AsyncBaseTransport | None" = None,
        *,
        max_bytes: int | None = None,
    ) -> None:
        self._config = config
        self._transport = transport
        self._limit = max_bytes
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, Client]] = (
            WeakKeyDictionary()
        )

    @property
    def max_bytes(self) -> int:
        """The most bytes of an answer."""
        limit = max_answer_bytes(self._config)
        return min(limit, self._limit or limit)

    async def get(self, *, public: bool = False) -> "Client":
        """Return the running loop's client, or its `public` one, for public addresses only."""
        loop = asyncio.get_running_loop()
        known = self._clients.get(loop, {}).get(public)
        # Creating a client reads the certificates, which takes 25 ms: not on the loop.
        return known or await asyncio.to_thread(self._create, loop, public)

    async def aclose(self) -> None:
        """Close the running loop's clients."""
        for client in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await client.aclose()

    def _create(self, loop: asyncio.AbstractEventLoop, public: bool) -> "Client":
        with self._lock:
            clients = self._clients.setdefault(loop, {})
            if public not in clients:
                clients[public] = new_client(
                    Timeouts.from_config(self._config),
                    self._transport,
                    max_bytes=self.max_bytes,
                    public=public,
                )
            return clients[public]


def retry_after(
    headers: Mapping[str, str], *, now: datetime.datetime | None = None
) -> float | None:
    """Return the seconds to wait before a retry, None if the headers do not say.

    Reads `Retry-After-Ms` (milliseconds) and `Retry-After` (seconds or an HTTP date). `now`
    replaces the current time in tests.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
            return float(text) / unit
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    now = now or datetime.datetime.now(datetime.UTC)
    return max(0.0, (moment - now).total_seconds())
