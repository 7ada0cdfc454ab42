"""What every HTTP backend shares: one client, downloads, waits, a service's words made fit.

httpx2 takes a sixth of a second to import, so it is imported where it is first used.
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
from backends.images.validation import MOST_BYTES

if TYPE_CHECKING:
    import httpx2

    Client: TypeAlias = httpx2.AsyncClient

MOST_CONNECTIONS = 256
MOST_KEPT = 32
"""Connections that stay open while nobody uses them: each is looked at whenever one more ends."""

PIECE = 256 * 1024
"""Bytes of an answer that are taken in at a time: in pieces of 64 KB it costs the loop twice."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one waits, in seconds: for a connection, and for a whole answer."""

    connect: float = 10.0
    answer: float = 600.0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Read LINEUP_CONNECT_SECONDS and LINEUP_ANSWER_SECONDS; what makes no sense is ignored."""
        usual = cls()
        return cls(
            _seconds(config.value("LINEUP_CONNECT_SECONDS"), usual.connect),
            _seconds(config.value("LINEUP_ANSWER_SECONDS"), usual.answer),
        )

    def timeout(self) -> "httpx2.Timeout":
        """The same for httpx2. A wait for a free connection is no failure: lanes limit those."""
        import httpx2

        return httpx2.Timeout(self.answer, connect=self.connect, pool=None)


def _seconds(text: str | None, usual: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return usual
    return seconds if 0 < seconds < math.inf else usual


def new_client(
    patience: Timeouts, transport: "httpx2.AsyncBaseTransport | None" = None
) -> "Client":
    """Return a client for picture services.

    Services on this machine are never asked for through a proxy of the environment, others are.
    A POST is never redirected: it would be sent, and perhaps billed, somewhere else.
    """
    import httpcore2
    import httpx2

    from backends.http.deadline import deadline_hooks

    httpcore2.AsyncHTTP11Connection.READ_NUM_BYTES = PIECE  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return httpx2.AsyncClient(
            transport=transport,
            event_hooks=deadline_hooks(patience.answer),
            mounts={f"all://{host}": transport for host in ("localhost", "127.0.0.1", "[::1]")},
            timeout=patience.timeout(),
            limits=httpx2.Limits(
                max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_KEPT
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
    """One client for each event loop: connections cannot be shared between loops."""

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
        # Reading the certificates takes 25 ms: not on the loop.
        return self._clients.get(loop) or await asyncio.to_thread(self._make, loop)

    async def aclose(self) -> None:
        """Close the running loop's client."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _make(self, loop: asyncio.AbstractEventLoop) -> "Client":
        with self._lock:
            if loop not in self._clients:
                self._clients[loop] = new_client(
                    Timeouts.from_config(self._config), self._transport
                )
            return self._clients[loop]


async def download(client: "Client", url: str) -> bytes:
    """Fetch a finished picture; redirects are followed, keys are not sent.

    Raises:
        ServiceFault: it was made but could not be fetched.
    """
    import httpx2

    lost = "The picture was made, but could not be fetched"
    data = bytearray()
    try:
        async with client.stream("GET", url, follow_redirects=True) as response:
            if response.status_code != 200:
                raise ServiceFault(f"{lost}: its address answers {response.status_code}.")
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > MOST_BYTES:
                    raise ServiceFault(f"{lost}: it has more than {MOST_BYTES / 1e6:.0f} MB.")
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise ServiceFault(f"{lost}: the connection failed. Look into your account.") from error
    return bytes(data)


def retry_after(
    headers: Mapping[str, str], *, now: datetime.datetime | None = None
) -> float | None:
    """Return the seconds to wait that an answer names: milliseconds, seconds or a date."""
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
