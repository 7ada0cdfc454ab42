"""Limits for what Discord sends: discord.py has none for its answers and its gateway's messages.

Neither has it an argument for them: the answers are limited by aiohttp's trace of each request, the
gateway by the method of one client that connects to it, and by what decompresses and parses its
messages.
"""

import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from backends.errors import ServiceFault
from backends.json_values import loads
from backends.settings import host_of

if TYPE_CHECKING:
    import aiohttp
    import discord

MAX_BYTES: Final = 8_000_000
"""Bytes of an answer, and of a message of the gateway: a server with thousands of channels has a
few megabytes, a hundred messages of the history one."""

_SYNC_FLUSH: Final = b"\x00\x00\xff\xff"
"""The end of a compressed message."""


def _refused(what: str) -> ServiceFault:
    return ServiceFault(
        f"Discord sent {what}, which Lineup does not read. Check DISCORD_API_BASE.", charged=False
    )


def answer_limits() -> "aiohttp.TraceConfig":
    """Return a trace that refuses redirects, compressed answers, and those above `MAX_BYTES`."""
    import aiohttp

    async def begin(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        # aiohttp decompresses an answer at once, to whatever size it has then.
        request.headers["Accept-Encoding"] = "identity"

    async def redirected(*_: Any) -> None:
        raise _refused("a redirect")

    async def answered(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        response = request.response
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise _refused("an answer that is compressed")
        response.content = _LimitedContent(response.content)  # pyright: ignore[reportAttributeAccessIssue]

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    trace.on_request_redirect.append(redirected)
    trace.on_request_end.append(answered)
    return trace


class _LimitedContent:
    """The body of an answer, of which `MAX_BYTES` are read."""

    def __init__(self, content: "aiohttp.StreamReader") -> None:
        self._content = content

    async def read(self) -> bytes:
        data = bytearray()
        while chunk := await self._content.readany():
            data += chunk
            if len(data) > MAX_BYTES:
                raise _refused(f"an answer of more than {MAX_BYTES / 1e6:.0f} MB")
        return bytes(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


def limit_gateway(client: "discord.Client", api_base: str) -> None:
    """Limit the messages of the gateway, and where it may be: public, or on the API's host.

    The bot's token is sent there, and Discord's answers name its address.
    """
    from discord import utils

    async def connect(url: str, *, compress: int = 0) -> Any:
        import aiohttp

        await _check_gateway(url, api_base)
        session: aiohttp.ClientSession = vars(client.http)["_HTTPClient__session"]
        return await session.ws_connect(
            url,
            max_msg_size=MAX_BYTES,
            autoclose=False,
            headers={"User-Agent": client.http.user_agent},
            compress=compress,
        )

    client.http.ws_connect = connect
    # Both are private, and hold for the whole process.
    utils._ActiveDecompressionContext = _LimitedDecompression  # pyright: ignore
    utils._from_json = loads  # pyright: ignore


async def _check_gateway(url: str, api_base: str) -> None:
    from backends.http.public import is_public, resolve

    parts, api = urlsplit(url), urlsplit(api_base)
    if parts.hostname == api.hostname:
        return
    public = parts.hostname and all(map(is_public, await resolve(parts.hostname, parts.port or 0)))
    if not public or (api.scheme == "https" and parts.scheme != "wss"):
        raise _refused(f"the address of a gateway ({host_of(url)}) that is not its own")


class _LimitedDecompression:
    """Decompresses the gateway's messages as discord.py does, to at most `MAX_BYTES` each."""

    COMPRESSION_TYPE = "zlib-stream"

    def __init__(self) -> None:
        self._context = zlib.decompressobj()
        self._buffer = bytearray()

    def decompress(self, data: bytes) -> str | None:
        """Return the message that `data` completes, None if it is not complete yet."""
        too_large = _refused(f"a message of more than {MAX_BYTES / 1e6:.0f} MB")
        self._buffer += data
        if len(self._buffer) > MAX_BYTES:
            raise too_large
        if not data.endswith(_SYNC_FLUSH):
            return None
        message = self._context.decompress(self._buffer, MAX_BYTES)
        if len(message) >= MAX_BYTES:
            raise too_large
        self._buffer.clear()
        return message.decode()
