"""A ComfyUI server that never ends: its frames, its messages, its pictures."""

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from backends.base import Config
from backends.comfyui.client import Client
from backends.comfyui.monitor import MAX_ANSWER_TIMES, Monitor
from backends.comfyui.progress import PromptProgress
from backends.comfyui.request import server_from_config
from backends.comfyui.websocket import MAX_FRAME_BYTES, Frame, Message, WebSocket
from backends.errors import ServiceFault, Unanswered
from backends.http.client import Timeouts, new_client
from backends.http.self_hosted import SelfHostedServer
from backends.images.previews import Previews
from backends.images.validation import MAX_PICTURES


def server_at(port: int) -> SelfHostedServer:
    values = {"COMFYUI_URL": f"http://127.0.0.1:{port}"}
    return server_from_config(Config(value=values.get, home=Path("unused")))


async def test_frames_wait_at_the_server_until_they_are_read() -> None:
    sent, oversized = 0, asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        nonlocal sent
        while not oversized.is_set():
            await connection.send(b"\0\0\0\1" + bytes(1_000_000))
            sent += 1_000_000
        await connection.send(bytes(MAX_FRAME_BYTES + 1))

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        socket = WebSocket(server_at(port), "client", Timeouts())
        assert await socket.open()
        before = -1
        while before != sent:  # until the server has to wait
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 40_000_000
        oversized.set()
        while not socket.was_disconnected:
            await socket.receive(1)
        await socket.aclose()


class Talkative(WebSocket):
    """A websocket on which the server says that it goes on."""

    async def receive(self, seconds: float) -> Frame | None:
        await asyncio.sleep(0.001)
        return Message("progress", {"prompt_id": "1", "value": 1, "max": 20})


async def test_a_prompt_that_goes_on_for_ever_ends() -> None:
    timeouts = Timeouts(answer=0.02)
    socket = Talkative(server_at(1), "client", timeouts)
    async with new_client(timeouts) as pool:
        monitor = Monitor(
            Client(pool, server_at(1), timeouts), socket, Previews(), "client", timeouts
        )
        async with asyncio.timeout(20 * timeouts.answer * MAX_ANSWER_TIMES):
            with pytest.raises(Unanswered):
                async for _ in monitor.follow(PromptProgress("1", {}, "The server")):
                    pass


def test_pictures_on_the_websocket_have_a_limit() -> None:
    progress = PromptProgress("1", {}, "The server")
    for _ in range(MAX_PICTURES):
        progress.add_picture(b"picture")
    with pytest.raises(ServiceFault, match="at most"):
        progress.add_picture(b"picture")
    large = PromptProgress("1", {}, "The server")
    picture = bytes(MAX_FRAME_BYTES)
    with pytest.raises(ServiceFault, match="MB"):
        for _ in range(10):
            large.add_picture(picture)


def test_only_nodes_of_the_workflow_have_outputs() -> None:
    progress = PromptProgress("1", {"9": {"class_type": "SaveImage", "inputs": {}}}, "The server")
    for node in ("9", *map(str, range(1000, 2000))):
        output = {"images": [{"filename": "a.png"}], "text": "x" * 1000}
        progress.handle_message("executed", {"node": node, "output": output})
    assert progress.outputs == {"9": {"images": [{"filename": "a.png"}]}}
