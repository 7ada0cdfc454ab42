"""What every HTTP backend shares: one client, downloads, waits, a service's words made fit.

httpx2 takes a sixth of a second to import, so it is imported where it is first used.
"""

import asyncio
import datetime
import re
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from backends.errors import MissingPackage, NotReady, ServiceFault
from backends.images import MOST_BYTES

if TYPE_CHECKING:
    import httpx2

    Client: TypeAlias = httpx2.AsyncClient

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
MOST_CONNECTIONS = 256

_SECRETS = re.compile(r"\b(?:sk|hf|r8|key)[-_][\w*.-]{3,}|\bBearer\s+\S+", re.IGNORECASE)
_PATHS = re.compile(r"(?<![\w:/.])(?:/[\w.-]+){2,}|\b[A-Za-z]:\\\S+")
_MARKUP = re.compile(r"<[^>]*>")


def new_client(transport: "httpx2.AsyncBaseTransport | None" = None) -> "Client":
    """Return a client for picture services.

    Services on this machine are never asked for through a proxy of the environment, others are.
    A POST is never redirected: it would be sent, and perhaps billed, somewhere else.
    """
    import httpx2

    try:
        return httpx2.AsyncClient(
            transport=transport,
            mounts={f"all://{host}": transport for host in ("localhost", "127.0.0.1", "[::1]")},
            # A wait for a free connection is no reason to fail: the lane decides how many run.
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None),
            limits=httpx2.Limits(
                max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS
            ),
            follow_redirects=False,
        )
    except ImportError as error:
        raise MissingPackage(
            "The environment names a SOCKS proxy, which needs `pip install 'httpx2[socks]'`."
        ) from error
    except ValueError as error:
        raise NotReady("The environment names a proxy whose address makes no sense.") from error


class Clients:
    """One client for each event loop: connections cannot be shared between loops."""

    def __init__(self, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()

    async def here(self) -> "Client":
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
                self._clients[loop] = new_client(self._transport)
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


def reason(text: str, *secrets: str | None) -> str:
    """Return a service's own words fit for a card: short, one line, no key, path or markup."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "(key)")
    text = _PATHS.sub("(path)", _SECRETS.sub("(key)", _MARKUP.sub(" ", text)))
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299].rstrip()}…"
