"""The user's own ComfyUI workflows: their marked places, and what they lack."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Applied, Request
from backends.comfyui.placeholders import PROMPT, SEED
from backends.comfyui.workflow import parse
from backends.errors import BackendError, BadInput, ServiceFault
from tests.backends.comfyui.case import (
    ASK,
    CONTROL,
    events,
    keep,
    nodes,
    pictures_of,
    receipt_of,
    workflow,
)
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Script

ALL = {
    "negative": "Dislikes | Lineup: negative prompt",
    "size": "lineup: size, count",
    "sampler": "lineup: seed, steps, guidance, sampler, scheduler",
}


async def test_every_marked_place_gets_what_was_asked_for(home: Path) -> None:
    asked = Request(
        prompt="a lighthouse",
        negative_prompt="people",
        width=64,
        height=72,
        num_inference_steps=9,
        guidance_scale=3.0,
        seed=5,
        options={"comfyui": {"sampler": "euler", "scheduler": "normal"}},
    )
    with ComfyUIServer() as server:
        got = await events(server, asked, keep(home, "mine", workflow(**ALL)), home)
    graph = server.asked("/prompt")[0].json["prompt"]
    assert graph["prompt"]["inputs"]["text"] == "a lighthouse"
    assert graph["negative"]["inputs"]["text"] == "people"
    assert graph["size"]["inputs"] == {"width": 64, "height": 72, "batch_size": 1}
    sampler = graph["sampler"]["inputs"]
    assert [sampler[name] for name in ("seed", "steps", "cfg")] == [5, 9, 3.0]
    assert [sampler[name] for name in ("sampler_name", "scheduler")] == ["euler", "normal"]
    assert graph["checkpoint"]["inputs"] == {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}
    honoured = receipt_of(got).honoured
    assert [each.note for each in honoured.values() if each.note] == []
    assert (pictures_of(got)[0].width, pictures_of(got)[0].height) == (64, 72)


async def test_what_was_not_asked_for_stays_as_the_workflow_has_it(home: Path) -> None:
    model = keep(home, "mine", workflow(**ALL))
    with ComfyUIServer() as server:
        got = await events(server, Request(prompt="a lighthouse"), model, home)
    graph = server.asked("/prompt")[0].json["prompt"]
    assert graph["negative"]["inputs"]["text"] == "own dislikes"
    assert graph["size"]["inputs"] == {"width": 128, "height": 96, "batch_size": 1}
    assert (graph["sampler"]["inputs"]["steps"], graph["sampler"]["inputs"]["cfg"]) == (12, 5.5)
    assert graph["sampler"]["inputs"]["seed"] != 99, "another picture each time"
    honoured = receipt_of(got).honoured
    assert honoured["num_inference_steps"] == Applied(None, 12)
    assert honoured["size"] == Applied(None, "128x96")


async def test_what_has_no_place_is_shown_as_not_honoured(home: Path) -> None:
    asked = replace(
        ASK,
        negative_prompt="people",
        num_inference_steps=9,
        guidance_scale=3.0,
        count=2,
        controls=(CONTROL,),
        options={"comfyui": {"sampler": "euler"}},
    )
    with ComfyUIServer() as server:
        got = await events(server, asked, keep(home, "bare", workflow()), home)
    honoured = receipt_of(got).honoured
    for name in ("negative_prompt", "num_inference_steps", "guidance_scale", "seed", "sampler"):
        assert "ignored" in honoured[name].note, name
    assert honoured["control"].note == "control picture ignored: bare takes none"
    assert honoured["size"] == Applied("64x64", "128x96", "128x96 instead of 64x64")
    assert honoured["count"].note == "1 instead of 2 pictures"
    assert pictures_of(got)[0].seed is None
    assert server.asked("/prompt")[0].json["prompt"]["sampler"]["inputs"]["seed"] == 99


async def test_without_a_place_for_seeds_several_pictures_are_a_batch(home: Path) -> None:
    model = keep(home, "batch", workflow(size="lineup: count"))
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, count=3), model, home)
    assert len(server.asked("/prompt")) == 1
    assert len(pictures_of(got)) == 3
    assert receipt_of(got).honoured["count"] == Applied(3, 3)


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


def controlled(**titles: str) -> dict[str, dict[str, Any]]:
    """A workflow that takes a control picture, through a preprocessor of its own."""
    graph = workflow(sampler="lineup: seed")
    graph["sampler"]["inputs"]["positive"] = ["apply", 0]
    added: dict[str, tuple[str, dict[str, Any]]] = {
        "given": ("LoadImage", {"image": "own.png"}),
        "map": ("DepthMapper", {"image": ["given", 0]}),
        "network": ("ControlNetLoader", {"control_net_name": "control_v11f1p_sd15_depth.pth"}),
        "apply": (
            "ControlNetApplyAdvanced",
            {"positive": ["prompt", 0], "image": ["map", 0], "control_net": ["network", 0]}
            | {"strength": 0.5},
        ),
    }
    titles = {"given": "lineup: control picture", **titles}
    for id, (kind, inputs) in added.items():
        graph[id] = {"class_type": kind, "_meta": {"title": titles.get(id, "")}, "inputs": inputs}
    return graph


async def test_a_control_picture_goes_to_its_place(home: Path) -> None:
    titles = {"apply": "lineup: control", "map": "lineup: preprocessor"}
    model = keep(home, "depth", controlled(**titles))
    control = replace(CONTROL, preprocessor="depth", weight=0.9, start=0.2)
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, controls=(control,)), model, home)
    sent = nodes(server)
    assert sent["LoadImage"]["image"] in server.uploads
    assert sent["ControlNetApplyAdvanced"]["strength"] == 0.9
    assert "start_percent" not in sent["ControlNetApplyAdvanced"]
    note = receipt_of(got).honoured["control"].note
    assert note == "control start ignored: no place for it"


@pytest.mark.parametrize(
    ("marked", "preprocessor", "stays", "note"),
    [
        (True, "none", False, ""),
        (True, "canny", True, "DepthMapper instead of canny: that is the workflow's preprocessor"),
        (False, "canny", True, "canny ignored: the workflow marks no preprocessor"),
        (False, "none", True, ""),
    ],
)
async def test_the_workflows_own_preprocessor(
    home: Path, marked: bool, preprocessor: str, stays: bool, note: str
) -> None:
    model = keep(home, "depth", controlled(map="lineup: preprocessor" if marked else ""))
    control = replace(CONTROL, preprocessor=preprocessor)
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, controls=(control,)), model, home)
    assert ("DepthMapper" in nodes(server)) is stays
    source = nodes(server)["ControlNetApplyAdvanced"]["image"][0]
    assert source == ("map" if stays else "given")
    assert receipt_of(got).honoured["control"].note == note


async def test_a_workflow_may_be_drawn_with_its_own_control_picture(home: Path) -> None:
    model = keep(home, "depth", controlled())
    with ComfyUIServer() as server:
        server.uploads["own.png"] = b"there already"
        got = await events(server, ASK, model, home)
        assert "the workflow's own control picture" in receipt_of(got).honoured["control"].note
        graph = controlled()
        graph["given"]["inputs"] = {"image": ""}
        with pytest.raises(BadInput, match="The workflow empty needs a control picture"):
            await events(server, ASK, keep(home, "empty", graph), home)


async def test_a_picture_to_start_from_goes_to_its_place(home: Path) -> None:
    graph = workflow(sampler="lineup: seed, strength")
    graph["given"] = {
        "class_type": "LoadImage",
        "_meta": {"title": "lineup: start picture"},
        "inputs": {"image": "own.png"},
    }
    graph["size"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["given", 0]}}
    with ComfyUIServer() as server:
        asked = replace(ASK, image=CONTROL.image, strength=0.3)
        got = await events(server, asked, keep(home, "again", graph), home)
    assert nodes(server)["LoadImage"]["image"] in server.uploads
    assert nodes(server)["KSampler"]["denoise"] == 0.3
    assert receipt_of(got).honoured["image"].note == ""


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ("{", "The workflow mine is not JSON"),
        ({"nodes": [], "links": []}, "is not in API format. Open it in ComfyUI, choose Workflow"),
        ({}, "is not in API format"),
        (workflow(prompt=""), "The workflow mine has no place for the prompt."),
        (
            workflow(sampler="lineup: sed"),
            'marks node sampler with "lineup: sed", which is no place. There are prompt,',
        ),
        (
            workflow(save="lineup: steps"),
            'marks node save (SaveImage) with "lineup: steps", but it has no input that fits steps;'
            " it has images, filename_prefix.",
        ),
        (workflow(sampler="lineup: seed (noise)"), "but it has no input noise; it has"),
        (workflow(size="lineup: size (width)"), "is no place"),
    ],
)
async def test_a_workflow_that_cannot_be_drawn_with_says_why(
    home: Path, graph: object, words: str
) -> None:
    with ComfyUIServer() as server, pytest.raises(BackendError) as caught:
        await events(server, ASK, keep(home, "mine", graph), home)
    assert isinstance(caught.value, BadInput)
    assert words in str(caught.value)
    assert server.asked("/prompt") == []


async def test_a_node_that_the_server_lacks_is_named(home: Path) -> None:
    graph = workflow()
    graph["decode"]["class_type"] = "FancyDecoder"
    with ComfyUIServer() as server, pytest.raises(BadInput) as caught:
        await events(server, ASK, keep(home, "mine", graph), home)
    assert "it has no node FancyDecoder. Install the extension" in str(caught.value)


def test_an_input_may_be_named_and_a_place_marked_twice() -> None:
    graph = workflow(sampler="lineup: seed", negative="lineup: prompt (Text)")
    graph["detail"] = {
        "class_type": "KSamplerAdvanced",
        "_meta": {"title": "lineup: seed"},
        "inputs": {"noise_seed": 1},
    }
    filled = parse(json.dumps(graph), "mine").fill({SEED: 3, PROMPT: "both"})
    assert filled["sampler"]["inputs"]["seed"] == 3
    assert filled["detail"]["inputs"]["noise_seed"] == 3
    assert filled["negative"]["inputs"]["text"] == filled["prompt"]["inputs"]["text"] == "both"


async def test_a_name_is_no_way_out_of_the_folder(home: Path) -> None:
    keep(home, "mine", workflow())
    (home / "secret.json").write_text("{}", encoding="utf-8")
    model = replace(keep(home, "mine", workflow()), source="../secret")
    with ComfyUIServer() as server, pytest.raises(BadInput, match=r"no checkpoint \.\./secret"):
        await events(server, ASK, model, home)


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
