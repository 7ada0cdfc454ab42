"""The HTTP client that all backends share: timeouts, one client per event loop, downloads.

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
from typing import TYPE_CHECKING, Self, TypeAlias
from weakref import WeakKeyDictionary

from backends.base import Config
from backends.errors import MissingPackage, NotReady, ServiceFault
from backends.images.validation import MAX_BYTES

if TYPE_CHECKING:
    import httpx2

    Client: TypeAlias = httpx2.AsyncClient

MAX_CONNECTIONS = 256
MAX_IDLE_CONNECTIONS = 32
"""Connections that stay open while unused: httpx2 checks each of them when another one is freed."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds: for a connection, and for a complete response."""

    connect: float = 10.0
    answer: float = 600.0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Read LINEUP_CONNECT_SECONDS and LINEUP_ANSWER_SECONDS; invalid values are ignored."""
        default = cls()
        return cls(
            _seconds(config.value("LINEUP_CONNECT_SECONDS"), default.connect),
            _seconds(config.value("LINEUP_ANSWER_SECONDS"), default.answer),
        )

    def timeout(self) -> "httpx2.Timeout":
        """Return the limits for httpx2, without one for the wait for a free connection.

        Lanes limit how many requests wait.
        """
        import httpx2

        return httpx2.Timeout(self.answer, connect=self.connect, pool=None)


def _seconds(text: str | None, default: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return default
    return seconds if 0 < seconds < math.inf else default


def new_client(
    timeouts: Timeouts, transport: "httpx2.AsyncBaseTransport | None" = None
) -> "Client":
    """Return a client for image services.

    The environment's proxy is used, but never for services on this machine. Redirects of a POST
    are not followed: it would be sent, and perhaps billed, somewhere else.

    Raises:
        BackendError: the environment's proxy cannot be used.
    """
    import httpx2

    from backends.http.deadline import deadline_hooks

    try:
        return httpx2.AsyncClient(
            transport=transport,
            event_hooks=deadline_hooks(timeouts.answer),
            mounts={f"all://{host}": transport for host in ("localhost", "127.0.0.1", "[::1]")},
            timeout=timeouts.timeout(),
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
            ),
            follow_redirects=False,
        )
    except ImportError as error:
        raise MissingPackage(
            "The environment names a SOCKS proxy, which needs `pip install 'httpx2[socks]'`."
        ) from error
    except ValueError as error:
        raise NotReady("The environment names a proxy whose address makes no sense.") from error


class ClientPool:
    """One client for each event loop, since connections cannot be shared between loops."""

    def __init__(
        self, config: Config, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        self._config = config
        self._transport = transport
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()

    async def get(self) -> "Client":
        """Return the running loop's client."""
        loop = asyncio.get_running_loop()
        # Creating a client reads the certificates, which takes 25 ms: not on the loop.
        return self._clients.get(loop) or await asyncio.to_thread(self._create, loop)

    async def aclose(self) -> None:
        """Close the running loop's client."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _create(self, loop: asyncio.AbstractEventLoop) -> "Client":
        with self._lock:
            if loop not in self._clients:
                self._clients[loop] = new_client(
                    Timeouts.from_config(self._config), self._transport
                )
            return self._clients[loop]


async def download(client: "Client", url: str) -> bytes:
    """Download a finished picture; redirects are followed, keys are not sent.

    Raises:
        ServiceFault: it was made but could not be downloaded.
    """
    import httpx2

    lost = "The picture was made, but could not be fetched"
    try:
        async with client.stream("GET", url, follow_redirects=True) as response:
            if response.status_code != 200:
                raise ServiceFault(f"{lost}: its address answers {response.status_code}.")
            return await read_limited(response, lost)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise ServiceFault(f"{lost}: the connection failed. Look into your account.") from error


async def read_limited(response: "httpx2.Response", lost: str) -> bytes:
    """Read the body of a streamed response that must not exceed `MAX_BYTES`.

    `lost` is the beginning of the error sentence, up to its colon.

    Raises:
        ServiceFault: the body is larger.
        httpx2.RequestError: a failure below HTTP.
    """
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise ServiceFault(f"{lost}: it has more than {MAX_BYTES / 1e6:.0f} MB.")
    return bytes(data)


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
