"""Control pictures on a ComfyUI server: the workflow with ControlNet, and what the server lacks."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backends.base import Applied
from backends.errors import BadInput
from tests.backends.comfyui.case import (
    ASK,
    CONTROL,
    MODEL,
    events,
    keep,
    named,
    nodes,
    pictures_of,
    receipt_of,
    workflow,
)
from tests.servers import pictures
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
        got = await events(server, replace(ASK, controls=(control,), width=96))
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
    assert receipt_of(got).honoured["control"] == Applied("canny", f"canny with {network}")
    assert len(pictures_of(got)) == 1


SECOND = replace(
    CONTROL, image=pictures.plain(32, 48), preprocessor="none", weight=0.5, start=0.2, end=0.7
)


@pytest.mark.parametrize("image", [None, pictures.plain()])
async def test_controls_follow_one_another_in_a_chain(image: bytes | None) -> None:
    controls = (CONTROL, SECOND, replace(CONTROL, parameters={"low_threshold": 51}))
    model = replace(MODEL, supports=MODEL.supports | {"image", "strength"})
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, controls=controls, image=image, width=96), model)
        assert len(server.uploads) == 2 + (image is not None)
    graph = server.asked("/prompt")[0].json["prompt"]
    sampler = _inputs(graph, "KSampler")
    third = graph[sampler["positive"][0]]
    assert sampler["negative"] == [sampler["positive"][0], 1]
    second = graph[third["inputs"]["positive"][0]]
    first = graph[second["inputs"]["positive"][0]]
    assert {each["class_type"] for each in (first, second, third)} == {"ControlNetApplyAdvanced"}
    for before, after in ((first, second), (second, third)):
        for number, name in enumerate(("positive", "negative")):
            source, output = after["inputs"][name]
            assert graph[source] is before and output == number
    assert graph[first["inputs"]["positive"][0]]["class_type"] == "CLIPTextEncode"
    weights = [each["inputs"]["strength"] for each in (first, second, third)]
    spans = [
        (each["inputs"]["start_percent"], each["inputs"]["end_percent"])
        for each in (first, second, third)
    ]
    assert weights == [1.0, 0.5, 1.0] and spans == [(0.0, 1.0), (0.2, 0.7), (0.0, 1.0)]
    kinds = [graph[each["inputs"]["image"][0]]["class_type"] for each in (first, second, third)]
    assert kinds == ["Canny", "ImageScale", "Canny"]
    assert graph[third["inputs"]["image"][0]]["inputs"]["low_threshold"] == 0.2
    widths = [
        node["inputs"]["width"] for node in graph.values() if "upscale_method" in node["inputs"]
    ]
    assert widths == [96, 96, 96]
    honoured = receipt_of(got).honoured
    assert [honoured[name].note for name in ("control", "control_2", "control_3")] == ["", "", ""]


def two_places() -> dict[str, dict[str, Any]]:
    """A workflow of the user's with places for two control pictures."""
    graph = workflow()
    for number, before in (("", "prompt"), (" 2", "apply")):
        nodes: dict[str, tuple[str, str, dict[str, Any]]] = {
            "given": ("LoadImage", "control picture", {"image": "own.png"}),
            "map": ("DepthMapper", "preprocessor", {"image": [f"given{number}", 0]}),
            "network": ("ControlNetLoader", "control model", {"control_net_name": "depth.pth"}),
            "apply": (
                "ControlNetApplyAdvanced",
                "control",
                {
                    "positive": [before, 0],
                    "image": [f"map{number}", 0],
                    "control_net": [f"network{number}", 0],
                    "strength": 0.4,
                },
            ),
        }
        for id, (kind, mark, inputs) in nodes.items():
            title = f"lineup: {mark}{number}"
            graph[id + number] = {"class_type": kind, "_meta": {"title": title}, "inputs": inputs}
    return graph


async def test_a_workflow_may_have_numbered_places(tmp_path: Path) -> None:
    model = keep(tmp_path, "two", two_places())
    late = replace(SECOND, weight=0.7, end=1.0)
    third = replace(CONTROL, weight=0.1)
    kind = Kind(networks=("depth.pth",))
    with ComfyUIServer(kind=kind) as server:
        got = await events(server, replace(ASK, controls=(CONTROL, late, third)), model, tmp_path)
    graph = server.asked("/prompt")[0].json["prompt"]
    assert [graph[id]["inputs"]["strength"] for id in ("apply", "apply 2")] == [1.0, 0.7]
    names = [graph[id]["inputs"]["image"] for id in ("given", "given 2")]
    assert len(set(names)) == 2 and set(names) <= set(server.uploads)
    assert graph["apply"]["inputs"]["image"] == ["map", 0]
    assert "map 2" not in graph and graph["apply 2"]["inputs"]["image"] == ["given 2", 0]
    honoured = receipt_of(got).honoured
    assert honoured["control_2"].note == "control start 2 ignored: no place for it"
    assert honoured["control_3"].note == "control picture 3 ignored: two takes 2 at most"


async def test_a_place_that_is_left_over_keeps_its_own_picture(tmp_path: Path) -> None:
    model = keep(tmp_path, "two", two_places())
    with ComfyUIServer(kind=Kind(networks=("depth.pth",))) as server:
        server.uploads["own.png"] = b"there already"
        got = await events(server, replace(ASK, controls=(CONTROL,)), model, tmp_path)
    graph = server.asked("/prompt")[0].json["prompt"]
    assert graph["given 2"]["inputs"]["image"] == "own.png"
    note = receipt_of(got).honoured["control_2"].note
    assert note == "the workflow's own control picture 2 was used"


@pytest.mark.parametrize("mark", ["prompt 2", "size 3", "control picture two"])
async def test_only_what_is_a_controls_can_be_numbered(tmp_path: Path, mark: str) -> None:
    model = keep(tmp_path, "odd", workflow(size=f"lineup: {mark}"))
    with ComfyUIServer() as server, pytest.raises(BadInput, match="which is no place"):
        await events(server, ASK, model, tmp_path)


async def test_a_map_that_is_ready_skips_canny() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, controls=(replace(CONTROL, preprocessor="none"),)))
    graph = server.asked("/prompt")[0].json["prompt"]
    assert "Canny" not in nodes(server)
    apply = _inputs(graph, "ControlNetApplyAdvanced")
    assert graph[apply["image"][0]]["class_type"] == "ImageScale"
    assert receipt_of(got).honoured["control"].requested == "none"


async def test_the_same_picture_is_uploaded_under_the_same_name() -> None:
    with ComfyUIServer() as server:
        first = await events(server, replace(ASK, controls=(CONTROL,)))
        again = await events(server, replace(ASK, controls=(CONTROL,)))
        assert len(server.uploads) == 1
    assert not receipt_of(first).cached
    assert receipt_of(again).cached, "the server could tell that nothing has changed"


async def test_a_large_checkpoint_gets_a_large_model() -> None:
    with ComfyUIServer() as server:
        await events(server, replace(ASK, controls=(CONTROL,)), named("sd_xl_base_1.0"))
    assert nodes(server)["ControlNetLoader"] == {
        "control_net_name": "diffusers_xl_canny_full.safetensors"
    }


@pytest.mark.parametrize("lists", [True, False])
async def test_the_user_may_name_the_model(lists: bool) -> None:
    options = {"comfyui": {"control_model": "control_v11f1p_sd15_depth"}}
    with ComfyUIServer(kind=Kind(lists=lists)) as server:
        await events(server, replace(ASK, controls=(CONTROL,), options=options))
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
    request = replace(ASK, controls=(control,), options={"comfyui": options})  # pyright: ignore
    with ComfyUIServer(kind=kind) as server, pytest.raises(BadInput) as caught:
        await events(server, request)
    assert words in str(caught.value)
    assert server.asked("/prompt") == []


async def test_a_preprocessor_that_the_workflow_lacks_is_shown_as_ignored() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, controls=(replace(CONTROL, preprocessor="hed"),)))
    assert "ControlNetLoader" not in nodes(server)
    assert "control picture ignored" in receipt_of(got).honoured["control"].note


def _inputs(graph: dict[str, dict[str, dict[str, list[str]]]], kind: str) -> dict[str, list[str]]:
    (found,) = [node["inputs"] for node in graph.values() if node["class_type"] == kind]  # pyright: ignore[reportUnnecessaryComparison]
    return found


async def test_a_picture_to_start_from() -> None:
    given = pictures.plain(48, 32)
    model = replace(MODEL, supports=MODEL.supports | {"image", "strength"})
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, image=given, strength=0.4), model)
    sent = nodes(server)
    (name,) = server.uploads
    assert sent["LoadImage"]["image"] == name
    assert sent["KSampler"]["denoise"] == 0.4
    assert "EmptyLatentImage" not in sent
    assert receipt_of(got).honoured["strength"] == Applied(0.4, 0.4)


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


@pytest.mark.parametrize(
    ("kind", "inputs", "preprocessor", "note"),
    [
        ("DepthAnything", {"depth_model": "depth_anything_v2.pth"}, "depth", ""),
        ("WildcardEncode", {"preprocessor": "DepthAnythingV2Preprocessor"}, "depth", ""),
        ("WildcardEncode", {"model": ["loader", 0]}, "depth", ""),
        ("WildcardEncode", {"preprocessor": "AnimeLineArtPreprocessor"}, "lineart_anime", ""),
        ("WildcardEncode", {"model": ["loader", 0]}, "canny", "WildcardEncode instead of canny"),
        ("WildcardEncode", {"preprocessor": "CannyEdge"}, "depth", "instead of depth"),
    ],
)
async def test_what_tells_the_kind_of_a_preprocessor(
    home: Path, kind: str, inputs: dict[str, Any], preprocessor: str, note: str
) -> None:
    graph = controlled(map="lineup: preprocessor")
    graph["map"] = {**graph["map"], "class_type": kind, "inputs": {"image": ["given", 0], **inputs}}
    loaded = {"model": "depth_anything_v2_vitl_fp16.safetensors"}
    graph["loader"] = {"class_type": "DepthModelLoader", "inputs": loaded}
    if "model" in inputs:
        graph["loader"]["class_type"] = "UNETLoader"  # the name of its model alone tells
    control = replace(CONTROL, preprocessor=preprocessor)
    with ComfyUIServer() as server:
        model = keep(home, "mapped", graph)
        got = await events(server, replace(ASK, controls=(control,)), model, home)
    told = receipt_of(got).honoured["control"]
    assert note in told.note and bool(told.note) is bool(note)
    assert bool(note) or str(told.used).startswith(preprocessor)


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
