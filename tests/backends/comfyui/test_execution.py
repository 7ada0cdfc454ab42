"""Pictures of a prompt on a ComfyUI server: which of them are results, and which seed they have."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.errors import BadInput, ServiceFault
from tests.backends.comfyui.case import (
    ASK,
    backend,
    events,
    keep,
    pictures_of,
    receipt_of,
    workflow,
)
from tests.servers.comfyui import ComfyUIServer, failing
from tests.servers.comfyui_script import Kind, Script
from tests.servers.pictures import plain


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


async def test_what_an_unmarked_node_sends_over_the_websocket_is_no_result(home: Path) -> None:
    graph = workflow(save="lineup: picture")
    graph["sent"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["decode", 0]}}
    with ComfyUIServer() as server:
        got = await events(server, ASK, keep(home, "both", graph), home)
    assert len(pictures_of(got)) == 1
    assert len(server.asked("/view")) == 1


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


@pytest.mark.parametrize("kind", ["PreviewImage", "MaskPreview", "ShowText", "SaveLatent"])
async def test_a_workflow_that_puts_out_no_picture_is_refused_before_it_draws(
    home: Path, kind: str
) -> None:
    graph = workflow()
    graph["save"]["class_type"] = kind
    with ComfyUIServer() as server, pytest.raises(BadInput) as caught:
        await events(server, ASK, keep(home, "only", graph), home)
    assert "The workflow only puts out no picture. It needs a SaveImage node" in str(caught.value)
    assert server.asked("/prompt") == []


@pytest.mark.parametrize("node", ["decode", "size"])
async def test_a_mark_on_a_node_that_puts_out_no_picture_is_told(home: Path, node: str) -> None:
    graph = workflow(**{node: "lineup: picture"})
    kind = graph[node]["class_type"]
    with ComfyUIServer() as server, pytest.raises(BadInput, match=f"marks {kind} with"):
        await events(server, ASK, keep(home, "marked", graph), home)
    assert server.asked("/prompt") == []


@pytest.mark.parametrize("odd", [{}, {"/object_info": failing(500)}])
async def test_a_node_of_an_extension_may_save_pictures(home: Path, odd: dict[str, Script]) -> None:
    graph = workflow()
    graph["save"]["class_type"] = "ImageKeeper"
    with ComfyUIServer() as server:
        server.odd = odd
        got = await events(server, ASK, keep(home, "kept", graph), home)
    assert len(pictures_of(got)) == 1


@pytest.mark.parametrize("title", ["", "lineup: picture"])
async def test_a_picture_for_the_websocket_needs_one_before_it_is_drawn(
    home: Path, title: str
) -> None:
    graph = workflow(save=title)
    graph["save"]["class_type"] = "SaveImageWebsocket"
    model = keep(home, "sent", graph)
    with ComfyUIServer(kind=Kind(sockets=False)) as server:
        with pytest.raises(BadInput, match=r"SaveImageWebsocket.*opens none"):
            await events(server, ASK, model, home)
        assert server.asked("/prompt") == []
        graph["also"] = {**graph["save"], "class_type": "SaveImage"}
        got = await events(server, ASK, keep(home, "both", graph), home)
        assert len(pictures_of(got)) == 1, "the one that is saved"


async def test_a_picture_that_was_sent_to_a_broken_websocket_is_told(home: Path) -> None:
    graph = workflow()
    graph["save"]["class_type"] = "SaveImageWebsocket"
    model = keep(home, "sent", graph)
    with ComfyUIServer(Script(delay=0.2, drop=12)) as server:
        drawer = backend(server.origin, home)
        with pytest.raises(ServiceFault, match="over a connection that was broken"):
            async for _ in drawer.generate(model, ASK):
                server.deaf = True
        await drawer.aclose()


@pytest.mark.parametrize("lost", [0, 1])
async def test_one_picture_of_several_that_cannot_be_had_loses_no_other(
    home: Path, lost: int
) -> None:
    graph = workflow(size="lineup: count")
    with ComfyUIServer() as server:
        server.views = [Script(raw=plain(128, 96))] * lost + [failing(404)]
        got = await events(server, replace(ASK, count=3), keep(home, "three", graph), home)
    assert len(pictures_of(got)) == 2
    note = receipt_of(got).honoured["count"].note
    assert note.startswith("2 instead of 3 pictures: The picture was made, but could not")


async def test_what_the_server_leaves_out_of_a_workflow_is_named(home: Path) -> None:
    graph = workflow()
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "gone.ckpt"}}
    graph |= {"other": loader, "also": {"class_type": "SaveImage", "inputs": {}}}
    graph["also"]["inputs"] = {"images": ["other", 0], "filename_prefix": "also"}
    with ComfyUIServer() as server:
        got = await events(server, ASK, keep(home, "half", graph), home)
    assert len(pictures_of(got)) == 1
    note = receipt_of(got).honoured["workflow"].note
    assert note.startswith("parts of the workflow were left out by the server: CheckpointLoader")
    assert "does not take “gone.ckpt” for ckpt_name" in note


@pytest.mark.parametrize("count", [1, 2])
async def test_a_black_picture_carries_a_note(count: int) -> None:
    with ComfyUIServer(Script(picture=plain(64, 64, bytes(3)))) as server:
        got = await events(server, replace(ASK, count=count))
    assert "black throughout" in receipt_of(got).honoured["picture"].note
    assert len(pictures_of(got)) == count, "it is shown all the same"
