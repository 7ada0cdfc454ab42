"""Control pictures on an A1111 server: its ControlNet extension, and what it lacks."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from backends.a1111.control import MODULES
from backends.base import Applied, Control, Model, Value
from backends.errors import BadInput
from backends.preprocessors import PREPROCESSORS
from tests.backends.a1111.case import ASK, CONTROL, MODEL, events, named, pictures_of, receipt_of
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import FORGE, Kind, Script, json_script


async def test_the_unit_in_the_extensions_words() -> None:
    control = replace(
        CONTROL,
        parameters={"low_threshold": 50, "high_threshold": 150},
        weight=0.8,
        start=0.1,
        end=0.9,
    )
    with A1111Server(Script(maps=1)) as server:
        got = await events(server, replace(ASK, controls=(control,)))
    (unit,) = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    with Image.open(io.BytesIO(base64.b64decode(unit.pop("image")))) as sent:
        assert (sent.format, sent.size, sent.mode) == ("PNG", (48, 32), "RGB")
    assert unit == {
        "enabled": True,
        "module": "canny",
        "model": "control_v11p_sd15_canny [d14c016b]",
        "weight": 0.8,
        "guidance_start": 0.1,
        "guidance_end": 0.9,
        "threshold_a": 50.0,
        "threshold_b": 150.0,
        "resize_mode": "Just Resize",
        "pixel_perfect": True,
        "control_mode": "Balanced",
        "save_detected_map": False,
    }
    assert receipt_of(got).honoured["control"] == Applied(
        "canny", "canny with control_v11p_sd15_canny [d14c016b]"
    )
    assert len(pictures_of(got)) == 1


DEPTH = replace(CONTROL, preprocessor="midas", weight=0.5, start=0.2, end=0.7)


async def test_each_control_is_a_unit_of_its_own() -> None:
    with A1111Server(Script(maps=2)) as server:
        got = await events(server, replace(ASK, controls=(CONTROL, DEPTH)))
    units = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    assert [(unit["module"], unit["model"].partition(" ")[0]) for unit in units] == [
        ("canny", "control_v11p_sd15_canny"),
        ("depth_midas", "control_v11f1p_sd15_depth"),
    ]
    assert [unit["weight"] for unit in units] == [1.0, 0.5]
    assert [(unit["guidance_start"], unit["guidance_end"]) for unit in units] == [
        (0.0, 1.0),
        (0.2, 0.7),
    ]
    honoured = receipt_of(got).honoured
    assert str(honoured["control_2"].used).startswith("depth_midas with control_v11f1p_sd15_depth")
    assert len(pictures_of(got)) == 1


async def test_each_control_may_have_a_model_by_name() -> None:
    names = "control_v11p_sd15_canny, control_v11p_sd15_openpose"
    asked = replace(ASK, controls=(CONTROL, DEPTH), options={"a1111": {"control_model": names}})
    with A1111Server() as server:
        await events(server, asked)
    units = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    assert [unit["model"].partition(" ")[0] for unit in units] == names.split(", ")


UNITS = [
    pytest.param(Kind(units=1), 1, id="its route says 1"),
    pytest.param(Kind(units=4), 4, id="its route says 4"),
    pytest.param(FORGE, 3, id="Forge, which says nothing"),
    pytest.param(replace(FORGE, settings_units=1), 1, id="Forge's settings say 1"),
    pytest.param(replace(FORGE, settings_units=5), 5, id="Forge's settings say 5"),
    pytest.param(
        Kind(units=None, broken={"/sdapi/v1/options": json_script({"error": "x"}, 500)}),
        3,
        id="settings that cannot be read",
    ),
]


@pytest.mark.parametrize(("kind", "maximum"), UNITS)
async def test_never_more_controls_than_the_server_has_units_for(kind: Kind, maximum: int) -> None:
    with A1111Server(kind=kind) as server:
        with pytest.raises(BadInput, match=f"set up for {maximum} control pictures at once"):
            await events(server, replace(ASK, controls=(CONTROL,) * (maximum + 1)))
        assert server.generations == []
        got = await events(server, replace(ASK, controls=(CONTROL,) * maximum))
    notes = [each.note for each in receipt_of(got).honoured.values()]
    assert notes == [""] * len(notes)


async def test_a_control_that_the_server_does_not_confirm_is_not_called_used() -> None:
    quiet = Kind(infotexts=False)
    text = 'x\nSteps: 20, Sampler: Euler a, ControlNet 0: "Module: canny, Weight: 1"'
    older = "x\nSteps: 20, ControlNet-0 Enabled: True, ControlNet-1 Enabled: True"
    asked = replace(ASK, controls=(CONTROL, DEPTH))
    for server_, missing in (
        (A1111Server(kind=quiet), ("control", "control_2")),
        (A1111Server(Script(info={"infotexts": [text]})), ("control_2",)),
        (A1111Server(Script(info={"infotexts": ["x\nSteps: 20"]})), ("control", "control_2")),
        (A1111Server(Script(info={"infotexts": [older]})), ()),
    ):
        with server_ as server:
            honoured = receipt_of(await events(server, asked)).honoured
        unconfirmed = [name for name in ("control", "control_2") if honoured[name].used is None]
        assert tuple(unconfirmed) == missing
        assert all("not confirmed by the server" in honoured[name].note for name in missing)


async def test_a_map_is_not_taken_for_a_missing_picture() -> None:
    with A1111Server(Script(maps=2, fewer=1)) as server:
        got = await events(server, replace(ASK, count=2, controls=(CONTROL, DEPTH)))
    assert len(pictures_of(got)) == 1
    assert receipt_of(got).honoured["count"].note == "1 instead of 2 pictures"


@pytest.mark.parametrize(
    ("preprocessor", "parameters", "module", "network"),
    [
        ("none", {}, "none", "control_v11p_sd15_canny"),
        ("midas", {}, "depth_midas", "control_v11f1p_sd15_depth"),
        ("hed", {"safe": False}, "softedge_hed", "control_v11p_sd15_softedge"),
        ("hed", {"safe": True}, "softedge_hedsafe", "control_v11p_sd15_softedge"),
        ("openpose", {"include_hand": True}, "openpose_hand", "control_v11p_sd15_openpose"),
        ("lineart", {}, "lineart_realistic", "control_v11p_sd15_lineart"),
        ("lineart_anime", {}, "lineart_anime", "control_v11p_sd15s2_lineart_anime"),
        ("depth_midas", {}, "depth_midas", "control_v11f1p_sd15_depth"),
    ],
)
async def test_each_preprocessor_gets_its_module_and_model(
    preprocessor: str, parameters: dict[str, Value], module: str, network: str
) -> None:
    unit = await _unit(replace(CONTROL, preprocessor=preprocessor, parameters=parameters))
    assert unit["module"] == module
    assert str(unit["model"]).partition(" ")[0] == network


async def test_the_servers_own_spelling_counts() -> None:
    forge = Kind(modules=("None", "canny"))
    assert (await _unit(replace(CONTROL, preprocessor="none"), forge))["module"] == "None"


async def test_a_large_checkpoint_gets_a_large_model() -> None:
    assert (await _unit(CONTROL, model=named("sd_xl_base_1.0")))["model"] == (
        "diffusers_xl_canny_full [2b69fca4]"
    )
    with A1111Server() as server:
        server.checkpoint = "sd_xl_base_1.0"
        await events(server, replace(ASK, controls=(CONTROL,)))
    (unit,) = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    assert unit["model"] == "diffusers_xl_canny_full [2b69fca4]"


async def test_the_user_or_the_catalogue_may_name_the_model() -> None:
    depth = "control_v11f1p_sd15_depth [cfd03158]"
    map_ = replace(CONTROL, preprocessor="none")
    assert (await _unit(map_, control_model="Control_v11f1p_sd15_depth"))["model"] == depth
    listed = replace(MODEL, controls={"canny": depth})
    assert (await _unit(CONTROL, model=listed))["model"] == depth


@pytest.mark.parametrize(
    ("kind", "preprocessor", "words"),
    [
        (Kind(modules=None), "canny", "no ControlNet extension"),
        (Kind(modules=("none", "depth_midas")), "midax", "preprocessor midax"),
        (Kind(networks=("None", "control_depth")), "openpose", "no ControlNet model for openpose"),
        (Kind(networks=("None",)), "canny", "It has none at all."),
    ],
)
async def test_what_is_lacking_is_said_before_anything_is_sent(
    kind: Kind, preprocessor: str, words: str
) -> None:
    asked = replace(ASK, controls=(replace(CONTROL, preprocessor=preprocessor),))
    with A1111Server(kind=kind) as server, pytest.raises(BadInput) as caught:
        await events(server, asked)
    assert words in str(caught.value)
    assert server.generations == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": b"no picture"}, "cannot be read"),
        ({"start": 0.9, "end": 0.2}, "end to steer after it begins"),
        ({"parameters": {"low_threshold": "low"}}, "is no number"),
    ],
)
async def test_a_control_that_makes_no_sense(change: dict[str, object], words: str) -> None:
    broken = replace(CONTROL, **change)  # pyright: ignore[reportArgumentType]
    with A1111Server() as server, pytest.raises(BadInput) as caught:
        await events(server, replace(ASK, controls=(broken,)))
    assert words in str(caught.value)
    assert server.generations == []


async def test_what_the_extension_cannot_be_told_is_noted() -> None:
    shuffled = replace(CONTROL, preprocessor="shuffle", parameters={"seed": 3}, weight=3.0)
    kind = Kind(networks=("control_v11e_sd15_shuffle",))
    with A1111Server(kind=kind) as server:
        got = await events(server, replace(ASK, controls=(shuffled,)))
    note = receipt_of(got).honoured["control"].note
    assert "Seed of the shuffle" in note and "a weight of 3" in note and "ignored" in note
    (unit,) = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    assert unit["weight"] == 2.0


async def test_a_photograph_is_sent_upright() -> None:
    sideways = Image.new("RGB", (80, 40), "white")
    exif = sideways.getexif()
    exif[0x0112] = 6
    out = io.BytesIO()
    sideways.save(out, "JPEG", exif=exif)
    unit = await _unit(replace(CONTROL, image=out.getvalue()))
    with Image.open(io.BytesIO(base64.b64decode(str(unit["image"])))) as sent:
        assert sent.size == (40, 80)


def test_every_preprocessor_that_is_offered_has_a_module() -> None:
    assert MODULES.keys() == PREPROCESSORS.keys()
    for name, modules in MODULES.items():
        known = {parameter.name for parameter in PREPROCESSORS[name].parameters}
        for module in modules:
            assert {module.threshold_a, module.threshold_b, *module.flags} - {""} <= known


async def _unit(
    control: Control, kind: Kind | None = None, model: Model = MODEL, control_model: str = ""
) -> dict[str, object]:
    """The unit that the server got."""
    options = {"a1111": {"control_model": control_model}}
    with A1111Server(kind=kind) as server:
        await events(server, replace(ASK, controls=(control,), options=options), model)
    (unit,) = server.generations[0].json["alwayson_scripts"]["controlnet"]["args"]
    return unit
