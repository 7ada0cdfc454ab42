"""Connections to public addresses only, for addresses that a server names.

A name is resolved once, every address that it stands for is checked, and the connection goes to one
of those that were checked: a second answer of the name server changes nothing. Where the
environment names a proxy, the proxy resolves names and connects; a name is then checked here as far
as this machine can resolve it. This module imports httpx2 at its top and is imported late.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias, cast

import httpcore2
import httpx2

from backends.http.limits import LimitedClient

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

MAX_ADDRESSES: Final = 3
"""Addresses of one name to which a connection is tried."""

_LOCAL_ENDINGS: Final = (".localhost", ".local", ".localdomain", ".internal", ".lan", ".home.arpa")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class NotPublic(Exception):
    """A name or an address that is not one of the public internet."""


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet.

    An IPv6 address that embeds an IPv4 address is judged by that too.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        if ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


async def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a name, or of an IP address in any spelling.

    Raises:
        OSError: it has none.
    """
    for parse in (ipaddress.ip_address, socket.inet_aton):  # the second takes 0x7f.1 as well
        try:
            return [str(ipaddress.ip_address(parse(host)))]
        except (ValueError, OSError):
            continue
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _PublicNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._network = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the base class has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of the checked addresses of `host`.

        Raises:
            NotPublic: one of its addresses is not public.
            httpcore2.ConnectError: no connection can be made.
        """
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        if not addresses or not all(map(is_public, addresses)):
            raise NotPublic
        *others, last = addresses[:MAX_ADDRESSES]
        share = None if timeout is None else timeout / (len(others) + 1)
        for address in others:
            try:
                return await self._network.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, share, local_address, socket_options)


class _PublicTransport(httpx2.AsyncHTTPTransport):
    """A transport that connects to public addresses only."""

    def __init__(self, context: ssl.SSLContext, resolve: Resolve) -> None:
        super().__init__(verify=context)
        # httpx2 has no argument for how its pool connects.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context, network_backend=_PublicNetwork(resolve)
        )


class PublicClient(LimitedClient):
    """A client for public addresses; the environment's proxy is used.

    Raises:
        NotPublic: by every request to another address.
    """

    def __init__(self, *, resolve: Resolve = resolve, **arguments: Any) -> None:
        context = httpx2.create_ssl_context()
        super().__init__(verify=context, **arguments)
        # As an argument it would switch off the environment's proxy.
        self._transport = _PublicTransport(context, resolve)
        self._resolve = resolve

    async def _begin(self, request: httpx2.Request) -> None:
        await super()._begin(request)
        host, port = request.url.host, request.url.port or 0
        name = host.rstrip(".").lower()
        if not ("." in name or ":" in name) or name.endswith(_LOCAL_ENDINGS):
            raise NotPublic
        try:
            addresses = await self._resolve(host, port)
        except OSError:
            return  # perhaps the proxy can resolve it; without a proxy connecting fails
        if not all(map(is_public, addresses)):
            raise NotPublic
