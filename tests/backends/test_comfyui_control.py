"""Control pictures on a ComfyUI server: the workflow with ControlNet, and what the server lacks."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from backends.base import Honour
from backends.errors import BadInput
from tests.backends.comfyui_case import (
    ASK,
    CONTROL,
    events,
    named,
    nodes,
    pictures_of,
    receipt_of,
)
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Kind


async def test_a_picture_goes_through_canny_into_controlnet() -> None:
    control = replace(
        CONTROL,
        parameters={"low_threshold": 51, "high_threshold": 255},
        weight=0.8,
        start=0.1,
        end=0.9,
    )
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, control=control, width=96))
    ((name, sent),) = server.uploads.items()
    with Image.open(io.BytesIO(sent)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("PNG", (48, 32), "RGB")
    graph = server.asked("/prompt")[0].json["prompt"]
    apply = _inputs(graph, "ControlNetApplyAdvanced")
    assert (apply["strength"], apply["start_percent"], apply["end_percent"]) == (0.8, 0.1, 0.9)
    map_ = graph[apply["image"][0]]
    assert map_["class_type"] == "Canny"
    assert (map_["inputs"]["low_threshold"], map_["inputs"]["high_threshold"]) == (0.2, 0.99)
    scaled = graph[map_["inputs"]["image"][0]]
    assert (scaled["class_type"], scaled["inputs"]["width"]) == ("ImageScale", 96)
    assert graph[scaled["inputs"]["image"][0]]["inputs"]["image"] == name
    network = graph[apply["control_net"][0]]["inputs"]["control_net_name"]
    assert network == "control_v11p_sd15_canny.pth"
    sampler = _inputs(graph, "KSampler")
    assert {graph[sampler[name][0]]["class_type"] for name in ("positive", "negative")} == {
        "ControlNetApplyAdvanced"
    }
    assert receipt_of(got).honoured["control"] == Honour("canny", f"canny with {network}")
    assert len(pictures_of(got)) == 1


async def test_a_map_that_is_ready_skips_canny() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, control=replace(CONTROL, preprocessor="none")))
    graph = server.asked("/prompt")[0].json["prompt"]
    assert "Canny" not in nodes(server)
    apply = _inputs(graph, "ControlNetApplyAdvanced")
    assert graph[apply["image"][0]]["class_type"] == "ImageScale"
    assert receipt_of(got).honoured["control"].asked == "none"


async def test_the_same_picture_is_uploaded_under_the_same_name() -> None:
    with ComfyUIServer() as server:
        first = await events(server, replace(ASK, control=CONTROL))
        again = await events(server, replace(ASK, control=CONTROL))
        assert len(server.uploads) == 1
    assert not receipt_of(first).cached
    assert receipt_of(again).cached, "the server could tell that nothing has changed"


async def test_a_large_checkpoint_gets_a_large_model() -> None:
    with ComfyUIServer() as server:
        await events(server, replace(ASK, control=CONTROL), named("sd_xl_base_1.0"))
    assert nodes(server)["ControlNetLoader"] == {
        "control_net_name": "diffusers_xl_canny_full.safetensors"
    }


@pytest.mark.parametrize("lists", [True, False])
async def test_the_user_may_name_the_model(lists: bool) -> None:
    options = {"comfyui": {"control_model": "control_v11f1p_sd15_depth"}}
    with ComfyUIServer(kind=Kind(lists=lists)) as server:
        await events(server, replace(ASK, control=CONTROL, options=options))
    assert nodes(server)["ControlNetLoader"]["control_net_name"] == "control_v11f1p_sd15_depth.pth"


@pytest.mark.parametrize(
    ("kind", "control", "options", "words"),
    [
        (
            Kind(networks=("depth.pth", "pose.pth")),
            CONTROL,
            {},
            "has no ControlNet model for canny. Name one of its own in the options.",
        ),
        (Kind(networks=()), CONTROL, {}, "It has none at all."),
        (
            Kind(),
            CONTROL,
            {"control_model": "control_v11p_sd15_cany"},
            "has no ControlNet model control_v11p_sd15_cany. The nearest it has: "
            "control_v11p_sd15_canny.pth",
        ),
        (Kind(), replace(CONTROL, start=0.9, end=0.2), {}, "Change its range."),
        (Kind(), replace(CONTROL, image=b"no picture"), {}, "cannot be read"),
    ],
)
async def test_what_is_missing_is_said_before_any_prompt(
    kind: Kind, control: object, options: dict[str, str], words: str
) -> None:
    request = replace(ASK, control=control, options={"comfyui": options})  # pyright: ignore
    with ComfyUIServer(kind=kind) as server, pytest.raises(BadInput) as caught:
        await events(server, request)
    assert words in str(caught.value)
    assert server.asked("/prompt") == []


async def test_a_preprocessor_that_the_workflow_lacks_is_shown_as_ignored() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, control=replace(CONTROL, preprocessor="hed")))
    assert "ControlNetLoader" not in nodes(server)
    assert "control picture ignored" in receipt_of(got).honoured["control"].note


def _inputs(graph: dict[str, dict[str, dict[str, list[str]]]], kind: str) -> dict[str, list[str]]:
    (found,) = [node["inputs"] for node in graph.values() if node["class_type"] == kind]  # pyright: ignore[reportUnnecessaryComparison]
    return found
