"""Lookups and downloads on a ComfyUI server."""

import pytest

from backends.base import Applied
from backends.errors import BadInput, ServiceFault
from tests.backends.comfyui.case import events, named, nodes, pictures_of, receipt_of
from tests.servers.comfyui import ComfyUIServer, failing
from tests.servers.comfyui_script import Kind, Script


@pytest.mark.parametrize(
    "name",
    ["sd_xl_base_1.0.safetensors", "SD_XL_base_1.0.safetensors", "sd_xl_base_1.0"],
)
@pytest.mark.parametrize("lists", [True, False])
async def test_a_checkpoint_goes_by_any_of_its_names(name: str, lists: bool) -> None:
    with ComfyUIServer(kind=Kind(lists=lists)) as server:
        got = await events(server, model=named(name))
    assert nodes(server)["CheckpointLoaderSimple"]["ckpt_name"] == "sd_xl_base_1.0.safetensors"
    assert receipt_of(got).honoured["checkpoint"].used == "sd_xl_base_1.0.safetensors"


async def test_the_first_checkpoint_is_named() -> None:
    with ComfyUIServer() as server:
        honoured = receipt_of(await events(server, model=named("first"))).honoured
    assert honoured["checkpoint"] == Applied(None, "v1-5-pruned-emaonly.safetensors")


@pytest.mark.parametrize(
    ("kind", "model", "words"),
    [
        (
            Kind(),
            "sd_xl_bse",
            "It has sd_xl_base_1.0.safetensors. There is no workflow of that name",
        ),
        (Kind(checkpoints=()), "first", "has no checkpoint at all"),
    ],
)
async def test_a_missing_checkpoint_is_found_out_before_anything_is_sent(
    kind: Kind, model: str, words: str
) -> None:
    with ComfyUIServer(kind=kind) as server, pytest.raises(BadInput) as caught:
        await events(server, model=named(model))
    assert words in str(caught.value)
    assert server.asked("/prompt") == []


CUT = Script(raw=b"not all of a picture", cut=8)


async def test_a_picture_whose_fetching_broke_is_fetched_again() -> None:
    with ComfyUIServer() as server:
        server.views = [CUT]
        got = await events(server)
        assert len(server.asked("/view")) == 2
    assert len(pictures_of(got)) == 1
    assert len(server.asked("/prompt")) == 1


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([CUT, CUT], "the connection failed. It lies in the server's output folder."),
        ([failing(404)], "it answers 404."),
    ],
)
async def test_a_picture_that_cannot_be_fetched_is_told(views: list[Script], words: str) -> None:
    with ComfyUIServer() as server, pytest.raises(ServiceFault) as caught:
        server.views = views
        await events(server)
    assert "The picture was made, but could not be fetched from 127.0.0.1" in str(caught.value)
    assert words in str(caught.value)
    assert server.asked("/interrupt") == []
