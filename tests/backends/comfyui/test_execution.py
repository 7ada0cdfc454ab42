"""Pictures of a prompt on a ComfyUI server: which of them are results, and which seed they have."""

from pathlib import Path

import pytest

from backends.errors import ServiceFault
from tests.backends.comfyui.case import ASK, events, keep, pictures_of, receipt_of, workflow
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Script


async def test_only_the_first_of_a_batch_has_the_seed(home: Path) -> None:
    graph = workflow(sampler="lineup: seed")
    graph["size"]["inputs"]["batch_size"] = 2
    with ComfyUIServer() as server:
        got = await events(server, ASK, keep(home, "two", graph), home)
    assert [picture.seed for picture in pictures_of(got)] == [7, None]
    assert receipt_of(got).honoured["count"].note == "2 instead of 1 pictures"


async def test_pictures_come_over_the_websocket_from_the_node_that_sends_them(home: Path) -> None:
    graph = workflow(sampler="lineup: seed")
    graph["save"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["decode", 0]}}
    model = keep(home, "sent", graph)
    with ComfyUIServer(Script(delay=0.3)) as server:
        first = await events(server, ASK, model, home)
        again = await events(server, ASK, model, home)
    assert server.asked("/view") == []
    (picture,) = pictures_of(first)
    assert (picture.width, picture.height, picture.seed) == (128, 96, 7)
    assert receipt_of(first).cached is False
    assert receipt_of(again).cached, "only the node that sends it ran again"


async def test_what_was_only_shown_is_no_result(home: Path) -> None:
    graph = workflow()
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}}
    with ComfyUIServer() as server:
        got = await events(server, ASK, keep(home, "shows", graph), home)
        assert len(pictures_of(got)) == 1
        del graph["save"]
        with pytest.raises(ServiceFault) as caught:
            await events(server, ASK, keep(home, "only", graph), home)
        assert "The workflow only ended without a picture. It needs a SaveImage" in str(
            caught.value
        )
        graph["shown"]["_meta"] = {"title": "lineup: picture"}
        got = await events(server, ASK, keep(home, "marked", graph), home)
        assert len(pictures_of(got)) == 1


async def test_a_marked_node_alone_has_the_results(home: Path) -> None:
    graph = workflow(save="lineup: picture")
    graph["other"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["decode", 0], "filename_prefix": "draft"},
    }
    with ComfyUIServer() as server:
        got = await events(server, ASK, keep(home, "mine", graph), home)
    assert len(pictures_of(got)) == 1
    assert "filename=own_" in server.asked("/view")[0].path


async def test_a_picture_that_was_saved_unheard_is_found(home: Path) -> None:
    graph = workflow()
    graph["sampler"]["inputs"]["steps"] = 20
    shorter = {**graph["sampler"]["inputs"], "steps": 10, "positive": ["negative", 0]}
    graph["second"] = {"class_type": "KSampler", "inputs": shorter}
    graph["also"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["second", 0], "filename_prefix": "also"},
    }
    with ComfyUIServer(Script(delay=1, drop=20)) as server:
        got = await events(server, ASK, keep(home, "two", graph), home)
        assert server.opened == 2, "the socket dropped between the two pictures"
    assert len(pictures_of(got)) == 2
