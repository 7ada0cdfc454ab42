"""Fetch the pictures that a service's answer names by their addresses.

A service may name any address, also one that only this machine can reach. So an address must be
public, or of the same origin (scheme, host and port) as the service; each redirect is checked like
the first address. A service's key goes to its own origin and nowhere else.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from backends.errors import ServiceFault
from backends.http.client import ClientPool
from backends.images.base64_json import decode_base64
from backends.images.validation import MAX_BYTES
from backends.settings import host_of
from backends.wording import redact

if TYPE_CHECKING:
    import httpx2

LOST: Final = "The picture was made, but could not be fetched"
MAX_REDIRECTS: Final = 5


class PictureFetcher:
    """Fetches the pictures that one answer of the service at `base_url` names.

    All of them together have at most the bytes and the time of one answer. `headers` hold
    the service's key; they are sent to its own origin, if that asks for them.
    """

    def __init__(
        self, clients: ClientPool, base_url: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._clients = clients
        self._base_url = base_url
        self._headers = dict(headers or {})
        self._bytes_left = clients.max_bytes
        self._deadline: float | None = None

    async def fetch(self, address: str) -> bytes:
        """Return the bytes of a picture; `address` may be relative to the service, or a data URL.

        Raises:
            ServiceFault: it could not be fetched, or not from there; the sentence says why.
        """
        import httpx2

        from backends.http.limits import AnswerRefused
        from backends.http.public import NotPublic

        if address[:5].lower() == "data:":
            return await asyncio.to_thread(_decode_data_url, address)
        try:
            base = httpx2.URL(f"{self._base_url.rstrip('/')}/")
            return await self._follow(base.join(address), base)
        except NotPublic as error:
            raise ServiceFault(
                f"{LOST}: its address is neither on the public internet nor at "
                f"{redact(host_of(self._base_url))}. If the same server named it, "
                "set the server's address as it is named there."
            ) from error
        except AnswerRefused as error:
            raise ServiceFault(f"{LOST}: its address sent {error}.") from error
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise ServiceFault(f"{LOST}: the connection failed. Look into your account.") from error

    async def _follow(self, url: "httpx2.URL", base: "httpx2.URL") -> bytes:
        from backends.http.limits import origin

        for _ in range(MAX_REDIRECTS + 1):
            is_own = origin(url) == origin(base)
            _check(url, base, is_own=is_own)
            client = await self._clients.get(public=not is_own)
            response = await self._get(client, url, {})
            if is_own and self._headers and response.status_code in (401, 403):
                await response.aclose()
                response = await self._get(client, url, self._headers)
            try:
                if response.has_redirect_location:
                    url = url.join(response.headers["location"])
                    continue
                if response.status_code != 200:
                    raise ServiceFault(f"{LOST}: its address answers {response.status_code}.")
                return await self._read(response)
            finally:
                await response.aclose()
        raise ServiceFault(f"{LOST}: its address leads on and on.")

    async def _get(
        self, client: "httpx2.AsyncClient", url: "httpx2.URL", headers: Mapping[str, str]
    ) -> "httpx2.Response":
        import httpx2

        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + (client.timeout.read or 0.0)
        request = client.build_request(
            "GET",
            url,
            headers=headers,
            timeout=httpx2.Timeout(
                max(self._deadline - now, 0.001), connect=client.timeout.connect, pool=None
            ),
            extensions={"max_bytes": MAX_BYTES},
        )
        return await client.send(request, stream=True)

    async def _read(self, response: "httpx2.Response") -> bytes:
        data = bytearray()
        async for chunk in response.aiter_bytes():
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                raise ServiceFault(
                    f"{LOST}: with the others it has more than "
                    f"{self._clients.max_bytes / 1e6:,.1f} MB."
                )
            data += chunk
        return bytes(data)


def _check(url: "httpx2.URL", base: "httpx2.URL", *, is_own: bool) -> None:
    has_user = bool(url.userinfo) and not (is_own and url.userinfo == base.userinfo)
    if url.scheme not in ("http", "https") or not url.host or has_user:
        raise ServiceFault(f"{LOST}: its address is none of a picture on the web.")
    if base.scheme == "https" and url.scheme != "https" and not is_own:
        raise ServiceFault(f"{LOST}: its address is not a secure one (https), as the service's is.")


def _decode_data_url(url: str) -> bytes:
    """Return the data in a data URL, which is limited by the answer that it came in."""
    head, _, data = url.partition(",")
    if head.lower().rstrip().endswith(";base64"):
        return decode_base64(data)
    return unquote_to_bytes(data)
