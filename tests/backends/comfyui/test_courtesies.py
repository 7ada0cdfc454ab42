"""What a job on a ComfyUI server can do without fails none: its queue, lists, history, progress."""

import pytest

from backends.errors import BadInput
from tests.backends.comfyui.case import events, named, nodes, pictures_of, receipt_of
from tests.servers.comfyui import ComfyUIServer, failing
from tests.servers.comfyui_script import Kind, Script

ANSWERS = {
    "404": failing(404),
    "500": failing(500),
    "HTML": Script(raw=b"<!doctype html><p>Not here</p>", media_type="text/html"),
    "nothing": Script(raw=b""),
    "another JSON": Script(raw=b'{"detail": "Not Found"}'),
}
PATHS = ["/queue", "/system_stats", "/models", "/object_info", "/history"]
CASES = [(path, answer) for path in PATHS for answer in ANSWERS] + [("/ws", "500")]


@pytest.mark.parametrize(("path", "answer"), CASES)
async def test_one_route_that_does_not_answer_as_it_should(path: str, answer: str) -> None:
    with ComfyUIServer() as server:
        server.odd = {path: ANSWERS[answer]}
        got = await events(server)
        assert len(server.asked("/prompt")) == 1 and server.asked("/interrupt") == []
    assert len(pictures_of(got)) == 1
    assert nodes(server)["CheckpointLoaderSimple"]["ckpt_name"] == "v1-5-pruned-emaonly.safetensors"


@pytest.mark.parametrize(
    ("missing", "answer"),
    [
        (("/models", "/object_info"), "404"),
        (("/models", "/object_info"), "HTML"),
        (("/models", "/object_info"), "nothing"),
        (("/queue", "/ws"), "500"),
    ],
)
async def test_routes_that_stand_in_for_each_other(missing: tuple[str, ...], answer: str) -> None:
    with ComfyUIServer() as server:
        server.odd = dict.fromkeys(missing, ANSWERS[answer])
        got = await events(server)
    assert len(pictures_of(got)) == 1
    note = receipt_of(got).honoured["checkpoint"].note
    unlisted = "not looked up: the server does not tell what it has"
    assert note == (unlisted if "/models" in missing else "")


async def test_without_a_list_the_server_itself_refuses_what_it_lacks() -> None:
    with ComfyUIServer(kind=Kind(checkpoints=("other.safetensors",))) as server:
        server.odd = dict.fromkeys(("/models", "/object_info"), failing(500))
        with pytest.raises(BadInput, match=r"does not take “v1-5-pruned-emaonly\.safetensors”"):
            await events(server)
        with pytest.raises(BadInput, match="does not tell which checkpoints it has"):
            await events(server, model=named("first"))
