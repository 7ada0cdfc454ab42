"""Discord's gateway: the size of its messages, and where it may be."""

import os
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import discord
import pytest
from aiohttp import web
from discord import utils

from backends.base import Queued
from backends.errors import BackendError, ServiceFault
from backends.midjourney import Midjourney as MidjourneyBackend
from backends.midjourney.credentials import Credentials
from backends.midjourney.discord_client import new_client
from backends.midjourney.discord_limits import MAX_BYTES
from tests.backends.midjourney.case import ASK, MODEL, TOKEN, opened
from tests.servers.discord import API
from tests.servers.midjourney import Midjourney


async def to_the_command(drawer: MidjourneyBackend) -> None:
    """Connect; the command would be the first event after that."""
    async with aclosing(drawer.generate(MODEL, ASK)) as events:
        async for event in events:
            assert not (isinstance(event, Queued) and event.command)


class Elsewhere(Midjourney):
    """Names a gateway at another address."""

    gateway = ""

    @property
    def _gateway(self) -> str:
        return self.gateway


@pytest.mark.parametrize(
    "gateway", ["ws://169.254.169.254/", "ws://10.0.0.1:80/", "ws://[::1]:80/", "ws:///"]
)
async def test_the_bot_goes_to_no_gateway_elsewhere(gateway: str) -> None:
    with Elsewhere(TOKEN) as server:
        server.gateway = gateway
        async with opened(server) as drawer:
            with pytest.raises(ServiceFault, match=r"gateway .* not its own"):
                await to_the_command(drawer)


class Shouting(Midjourney):
    """Greets the bot with a message of twenty megabytes, as text or as bytes."""

    shout: str | bytes = ""

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        if isinstance(self.shout, str):
            await socket.send_str(self.shout)
        else:
            await socket.send_bytes(self.shout)
        return socket


@pytest.mark.parametrize("shout", ["x" * 20_000_000, bytes(20_000_000)], ids=["text", "bytes"])
async def test_a_message_of_the_gateway_has_a_limit(shout: str | bytes) -> None:
    with Shouting(TOKEN) as server:
        server.shout = shout
        async with opened(server, LINEUP_ANSWER_SECONDS="1") as drawer:
            with pytest.raises(BackendError):
                await to_the_command(drawer)


@asynccontextmanager
async def bot() -> AsyncGenerator[discord.Client]:
    credentials = Credentials(token=TOKEN, channel_id=1, api_base=f"http://127.0.0.1{API}")

    async def connected() -> None:
        return

    async with new_client(
        credentials,
        handle_connected=connected,
        handle_message=lambda _: None,
        handle_removed=lambda _: None,
    ) as client:
        yield client


async def test_a_compressed_message_has_a_limit() -> None:
    async with bot():
        reader = utils._ActiveDecompressionContext()  # pyright: ignore[reportPrivateUsage]
    packer = zlib.compressobj()
    for text in ("one", "two " * 100_000):
        piece = packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert reader.decompress(piece[:3]) is None
        assert reader.decompress(piece[3:]) == text
    bomb = packer.compress(bytes(MAX_BYTES * 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(ServiceFault, match="more than 8 MB"):
        reader.decompress(bomb)
    endless = utils._ActiveDecompressionContext()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ServiceFault):
        for _ in range(20):
            endless.decompress(os.urandom(1_000_000) + b"x")
