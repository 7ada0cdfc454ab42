"""The user's own ComfyUI workflows: their marked places, and what they lack."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Applied, Readiness, Request
from backends.comfyui.placeholders import NEGATIVE_PROMPT, PROMPT, SEED
from backends.comfyui.workflow import parse
from backends.errors import BackendError, BadInput
from tests.backends.comfyui.case import (
    ASK,
    CONTROL,
    backend,
    events,
    keep,
    nodes,
    pictures_of,
    receipt_of,
    workflow,
)
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Kind

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


@pytest.mark.parametrize("year", [2024, 2025, 2026])
async def test_a_node_that_the_server_lacks_is_named(home: Path, year: int) -> None:
    graph = workflow(decode="my decoder")
    graph["decode"]["class_type"] = "FancyDecoder"
    with ComfyUIServer(kind=Kind(wording=year)) as server, pytest.raises(BadInput) as caught:
        await events(server, ASK, keep(home, "mine", graph), home)
    assert "it has no node FancyDecoder. Install the extension" in str(caught.value)
    assert ("titled “my decoder”" in str(caught.value)) is (year == 2026)


@pytest.mark.parametrize(
    "inputs",
    [
        ("text",),
        ("prompt",),
        ("text_g", "text_l"),
        ("clip_l", "clip_g", "t5xxl"),
        ("bert", "mt5xl"),
        ("user_prompt",),
        ("string",),
        ("value",),
    ],
)
def test_a_negative_prompt_fits_wherever_a_prompt_does(inputs: tuple[str, ...]) -> None:
    graph = workflow(negative="lineup: negative prompt")
    for node in ("prompt", "negative"):
        graph[node]["inputs"] = dict.fromkeys(inputs, "own words") | {"clip": ["checkpoint", 1]}
    filled = parse(json.dumps(graph), "mine").fill({PROMPT: "a fox", NEGATIVE_PROMPT: "fog"})
    assert [filled["prompt"]["inputs"][name] for name in inputs] == ["a fox"] * len(inputs)
    assert [filled["negative"]["inputs"][name] for name in inputs] == ["fog"] * len(inputs)


@pytest.mark.parametrize(
    "inputs", [{"positive": "", "negative": ""}, {"text_positive": "", "text_negative": ""}]
)
def test_one_node_may_take_both_prompts(inputs: dict[str, str]) -> None:
    graph = workflow(prompt="lineup: prompt, negative prompt")
    graph["prompt"]["inputs"] = inputs
    filled = parse(json.dumps(graph), "mine").fill({PROMPT: "a fox", NEGATIVE_PROMPT: "fog"})
    assert list(filled["prompt"]["inputs"].values()) == ["a fox", "fog"]


def test_a_plain_text_comes_before_a_link() -> None:
    graph = workflow()
    graph["prompt"]["inputs"] = {"text": ["words", 0], "prompt": "own words"}
    graph["words"] = {"class_type": "PrimitiveString", "inputs": {"value": "x"}}
    filled = parse(json.dumps(graph), "mine").fill({PROMPT: "a fox"})
    assert filled["prompt"]["inputs"] == {"text": ["words", 0], "prompt": "a fox"}


async def test_marks_that_the_export_loses_are_explained_where_they_are_missed(home: Path) -> None:
    lost = "ComfyUI does not export primitive nodes, the boxes of subgraphs"
    with ComfyUIServer() as server:
        with pytest.raises(BadInput, match=lost):
            await events(server, ASK, keep(home, "none", workflow(prompt="")), home)
        honoured = receipt_of(await events(server, ASK, keep(home, "bare", workflow()), home))
        note = honoured.honoured["marks"].note
        assert note.startswith("no mark for seed. ComfyUI does not export")
        full = keep(home, "full", workflow(sampler="lineup: seed"))
        assert "marks" not in receipt_of(await events(server, ASK, full, home)).honoured


async def test_seeds_have_64_bits(home: Path) -> None:
    asked = replace(ASK, seed=2**64 - 1, count=2)
    with ComfyUIServer() as server:
        got = await events(server, asked, keep(home, "s", workflow(sampler="lineup: seed")), home)
    assert [nodes(server, number)["KSampler"]["seed"] for number in (0, 1)] == [2**64 - 1, 0]
    assert [picture.seed for picture in pictures_of(got)] == [2**64 - 1, 0]


@pytest.mark.parametrize(
    ("written", "posted"),
    [
        ("18446744073709552000", 2**64 - 1),
        ("1.8446744073709552e+19", 2**64 - 1),
        ("9007199254740993", 9007199254740993),
        ("1125899906842624.0", 2**50),
        ("-1", -1),
        ('["other", 0]', ["other", 0]),
    ],
)
@pytest.mark.parametrize("name", ["seed", "noise_seed"])
def test_a_seed_that_a_browser_rounded_is_one_that_the_server_takes(
    name: str, written: str, posted: object
) -> None:
    graph = workflow()
    graph["sampler"]["inputs"][name] = "HERE"
    read = parse(json.dumps(graph).replace('"HERE"', written), "mine").fill({})
    assert read["sampler"]["inputs"][name] == posted
    assert not isinstance(read["sampler"]["inputs"][name], float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ('{"nodes": [], "links": []}', "is not in API format"),
        (json.dumps(workflow(prompt="")), "has no place for the prompt"),
        (json.dumps({**workflow(), "save": workflow()["decode"]}), "puts out no picture"),
    ],
)
def test_a_workflow_that_cannot_be_used_is_not_ready(home: Path, text: str, words: str) -> None:
    drawer, model = backend("http://127.0.0.1:8188", home), keep(home, "mine", text)
    ready = drawer.ready(model)
    assert ready.state is Readiness.UNAVAILABLE and words in ready.sentence
    keep(home, "mine", workflow(sampler="lineup: seed"))
    assert drawer.ready(model).state is Readiness.READY, "as soon as it is mended"


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
