"""The user's own ComfyUI workflows: their marked places, and what they lack."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Applied, Request
from backends.comfyui.placeholders import PROMPT, SEED
from backends.comfyui.workflow import parse
from backends.errors import BackendError, BadInput
from tests.backends.comfyui.case import (
    ASK,
    CONTROL,
    events,
    keep,
    pictures_of,
    receipt_of,
    workflow,
)
from tests.servers.comfyui import ComfyUIServer

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
