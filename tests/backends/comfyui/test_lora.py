"""LoRA tags in a prompt for a ComfyUI server: looked up, and put into the workflow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.comfyui.lora import parse_loras
from backends.errors import BadInput
from tests.backends.comfyui.case import ASK, events, keep, pictures_of, receipt_of, workflow
from tests.servers.comfyui import ComfyUIServer, failing

INK = "styles/ink-wash.safetensors"


def posted(server: ComfyUIServer) -> dict[str, dict[str, Any]]:
    return server.asked("/prompt")[-1].json["prompt"]


def loaders(server: ComfyUIServer) -> list[dict[str, Any]]:
    """Return the inputs of the LoRA loaders, the first one first."""
    graph = posted(server)
    return [node["inputs"] for node in graph.values() if "LoraLoader" in node["class_type"]]


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:ink-wash:0.8>",
        "<lora:styles/ink-wash:0.8>",
        "<lora:styles\\INK-wash.safetensors:0.8>",
        "<lyco:Ink-Wash:0.8>",
    ],
)
async def test_a_tag_goes_by_any_name_of_the_file(tag: str) -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, prompt=f"a lighthouse {tag}, at dawn"))
    (inputs,) = loaders(server)
    assert (inputs["lora_name"], inputs["strength_model"]) == (INK, 0.8)
    texts = [node["inputs"].get("text") for node in posted(server).values()]
    assert "a lighthouse, at dawn" in texts
    assert receipt_of(got).honoured["loras"].used == f"{INK}:0.8"
    assert len(pictures_of(got)) == 1


async def test_several_follow_each_other_and_everything_uses_the_last() -> None:
    prompt = "<lora:ink-wash:0.8:0.4> a fox <lora:detail_tweaker>"
    with ComfyUIServer() as server:
        await events(server, replace(ASK, prompt=prompt))
    graph = posted(server)
    first, second = loaders(server)
    assert (first["strength_clip"], first["strength_model"]) == (0.8, 0.4)
    assert (second["lora_name"], second["strength_model"]) == ("Detail_Tweaker.safetensors", 1.0)
    (last,) = [id for id, node in graph.items() if node["inputs"] == second]
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    assert sampler["inputs"]["model"] == [last, 0]
    encoders = [node for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    assert [node["inputs"]["clip"] for node in encoders] == [[last, 1]] * 2
    assert first["model"][0] == first["clip"][0] and graph[first["model"][0]]["class_type"] == (
        "CheckpointLoaderSimple"
    )


@pytest.mark.parametrize("tag", ["<lora:ink-wsh:1>", "<lora:nosuch>", "<lora:detail tweeker:0.5>"])
async def test_an_unknown_one_is_named_with_the_nearest_before_anything_is_sent(tag: str) -> None:
    with ComfyUIServer() as server, pytest.raises(BadInput) as caught:
        await events(server, replace(ASK, prompt=f"a fox {tag}"))
    assert "has no LoRA" in str(caught.value) and ".safetensors" in str(caught.value)
    assert server.asked("/prompt") == []


async def test_a_list_that_fails_costs_a_note() -> None:
    with ComfyUIServer() as server:
        server.odd = {"/models/loras": failing(500), "/object_info/LoraLoader": failing(404)}
        got = await events(server, replace(ASK, prompt="a fox <lora:Detail_Tweaker:1>"))
    note = receipt_of(got).honoured["loras"].note
    assert note == "not looked up: the server does not tell what it has"
    assert loaders(server)[0]["lora_name"] == "Detail_Tweaker.safetensors"


async def test_in_a_workflow_of_ones_own(home: Path) -> None:
    graph = workflow(sampler="lineup: seed")
    request = replace(ASK, prompt="a fox <lora:ink-wash:0.8>")
    with ComfyUIServer() as server:
        await events(server, request, keep(home, "one", graph), home)
        assert posted(server)["sampler"]["inputs"]["model"][0].startswith("lineup-lora")

        apart = workflow(sampler="lineup: seed")
        apart["checkpoint"] = {"class_type": "UNETLoader", "inputs": {"unet_name": "x"}}
        apart["clips"] = {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "y"}}
        for node in ("prompt", "negative"):
            apart[node]["inputs"]["clip"] = ["clips", 0]
        await events(server, request, keep(home, "apart", apart), home)
        (inputs,) = loaders(server)
        assert (inputs["model"], inputs["clip"]) == (["checkpoint", 0], ["clips", 0])

        graph["refiner"] = {**graph["checkpoint"], "_meta": {"title": "refiner"}}
        graph["second"] = {**graph["sampler"], "inputs": dict(graph["sampler"]["inputs"])}
        graph["second"]["inputs"] |= {"model": ["refiner", 0], "latent_image": ["sampler", 0]}
        graph["decode"]["inputs"]["samples"] = ["second", 0]
        got = await events(server, request, keep(home, "two", graph), home)
        assert "ignored: the workflow has no single loader" in (
            receipt_of(got).honoured["loras"].note
        )
        assert posted(server)["prompt"]["inputs"]["text"] == "a fox"


async def test_a_node_that_may_read_tags_keeps_them(home: Path) -> None:
    graph = workflow(sampler="lineup: seed")
    graph["prompt"]["class_type"] = "WildcardEncode"
    with ComfyUIServer() as server:
        request = replace(ASK, prompt="a fox <lora:ink-wash:0.8>")
        got = await events(server, request, keep(home, "reads", graph), home)
        assert posted(server)["prompt"]["inputs"]["text"] == "a fox <lora:ink-wash:0.8>"
        assert "it is up to the workflow's WildcardEncode" in receipt_of(got).honoured["loras"].note
        with pytest.raises(BadInput, match="has no LoRA nosuch"):
            await events(
                server, replace(ASK, prompt="x <lora:nosuch>"), keep(home, "r", graph), home
            )


async def test_a_tag_in_the_negative_prompt_is_named() -> None:
    request = replace(ASK, negative_prompt="fog <lora:nosuch:1>, rain")
    with ComfyUIServer() as server:
        got = await events(server, request)
    assert "fog, rain" in [node["inputs"].get("text") for node in posted(server).values()]
    assert loaders(server) == []
    told = receipt_of(got).honoured["negative_loras"]
    assert (told.requested, told.used) == ("nosuch:1", None) and "ignored" in told.note


@pytest.mark.parametrize(
    ("tag", "encoder", "model"),
    [
        ("<lora:a>", 1.0, 1.0),
        ("<lora:a:0.5>", 0.5, 0.5),
        ("<lora:a:0.5:0.25>", 0.5, 0.25),
        ("<lora:a:te=0.5:unet=2>", 0.5, 2.0),
        ("<lora:a:unet=0.3>", 0.3, 0.3),
        ("<lora:a:-1:dyn=8>", -1.0, -1.0),
        ("<LoRA: a : 0.7 >", 0.7, 0.7),
    ],
)
def test_weights_as_the_web_ui_reads_them(tag: str, encoder: float, model: float) -> None:
    text, (lora,) = parse_loras(f"a fox {tag}")
    assert (text, lora.name) == ("a fox", "a")
    assert (lora.text_encoder, lora.model) == (encoder, model)


@pytest.mark.parametrize("weight", ["much", "nan", "1e9", "0,8"])
def test_a_weight_that_is_no_number_is_named(weight: str) -> None:
    with pytest.raises(BadInput, match="The weight of the LoRA “a” must be a number"):
        parse_loras(f"<lora:a:{weight}>")


@pytest.mark.parametrize("prompt", ["a <b> fox", "<lora>", "a < b:c > d", "(lora:1.2)"])
def test_what_is_no_tag_stays(prompt: str) -> None:
    assert parse_loras(prompt) == (prompt, ())
