"""The guard of conftest.py holds: at the socket, in asyncio, and in the clients that we use."""

import asyncio
import os
import socket
from pathlib import Path

import httpx2
import pytest

from tests.conftest import NetworkUsed
from tests.servers.openai import OpenAIServer

FOREIGN = [("93.184.216.34", 80), ("example.com", 443), ("2606:2800::1", 80)]


@pytest.mark.parametrize("address", FOREIGN)
def test_a_socket_cannot_leave(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as plain:
        for connect in (plain.connect, plain.connect_ex):
            with pytest.raises(NetworkUsed, match=address[0]):
                connect(address)
    with pytest.raises(NetworkUsed):
        socket.create_connection(address)
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams, pytest.raises(NetworkUsed):
        datagrams.sendto(b"", address)


@pytest.mark.parametrize("address", FOREIGN)
async def test_asyncio_cannot_leave(address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(NetworkUsed):
        await asyncio.open_connection(*address)
    with pytest.raises(NetworkUsed):
        await loop.getaddrinfo(*address)
    with socket.socket() as plain, pytest.raises(NetworkUsed):
        plain.setblocking(False)
        await loop.sock_connect(plain, (FOREIGN[0]))


async def test_an_http_client_cannot_leave() -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(NetworkUsed):
            await client.get("https://api.openai.com/v1/models")


async def test_this_machine_is_reachable(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"{server.base_url}/models")).status_code == 200
    pair = socket.socketpair()
    for end in pair:
        end.close()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as calling:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        calling.connect(str(tmp_path / "socket"))


def test_no_key_and_no_home_of_the_user(home: Path, tmp_path: Path) -> None:
    assert not [name for name in os.environ if name.endswith("_API_KEY")]
    assert os.environ["LINEUP_HOME"] == str(home)
    assert home.is_relative_to(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
