"""A request is fitted to a model, and what becomes of each input is said."""

from dataclasses import replace
from typing import Any

import pytest

from backends.base import Applied, Control, Model, Request, Sizes
from backends.errors import BadInput
from backends.fit import closest_size, fit
from tests.servers.pictures import plain

PLAIN = Model(id="test/plain", label="Plain", family="test", source="plain")
ABLE = replace(
    PLAIN,
    label="Able",
    supports=frozenset(
        {"negative_prompt", "seed", "num_inference_steps", "guidance_scale", "controls", "count"}
    ),
    defaults={"num_inference_steps": 30, "guidance_scale": 7.5},
    controls={"canny": "weights/canny"},
    most_count=4,
    most_prompt=50,
)
ANY = Sizes(multiple=16, least=256, most=1024)
NATIVE = Sizes(native=((1024, 1024), (1536, 1024), (1024, 1536)), only_native=True)


def test_what_was_not_asked_becomes_the_models_own() -> None:
    fitted = fit(ABLE, Request(prompt="a cat"))
    assert fitted.request.num_inference_steps == 30
    assert fitted.request.guidance_scale == 7.5
    assert (fitted.request.width, fitted.request.height) == (1024, 1024)
    assert fitted.request.seed is None
    assert fitted.honoured == {
        "num_inference_steps": Applied(None, 30),
        "guidance_scale": Applied(None, 7.5),
        "size": Applied(None, "1024x1024"),
        "count": Applied(1, 1),
    }


def test_what_was_asked_is_taken() -> None:
    control = Control(image=b"", preprocessor="canny")
    asked = Request(
        prompt="a cat",
        negative_prompt="a dog",
        width=512,
        height=768,
        num_inference_steps=5,
        guidance_scale=0.0,
        seed=0,
        count=3,
        controls=(control,),
    )
    fitted = fit(ABLE, asked)
    assert fitted.request == asked
    assert all(honour.note == "" for honour in fitted.honoured.values())
    assert fitted.honoured["seed"] == Applied(0, 0)
    assert fitted.honoured["guidance_scale"] == Applied(0.0, 0.0)
    assert fitted.honoured["control"] == Applied("canny", "canny")


@pytest.mark.parametrize(
    ("asked", "name", "note"),
    [
        ({"seed": 7}, "seed", "seed ignored: Plain takes none"),
        (
            {"negative_prompt": "dogs"},
            "negative_prompt",
            "negative prompt ignored: Plain takes none",
        ),
        ({"num_inference_steps": 9}, "num_inference_steps", "steps ignored: Plain takes none"),
        ({"guidance_scale": 3.0}, "guidance_scale", "guidance scale ignored: Plain takes none"),
        (
            {"controls": (Control(image=b""),)},
            "control",
            "control picture ignored: Plain takes none",
        ),
        ({"image": plain()}, "image", "start picture ignored: Plain takes none"),
    ],
)
def test_what_the_model_does_not_take_is_said(asked: dict[str, Any], name: str, note: str) -> None:
    fitted = fit(PLAIN, Request(prompt="a cat", **asked))
    assert fitted.honoured[name].note == note
    assert fitted.honoured[name].used is None
    assert not getattr(fitted.request, next(iter(asked)))


def test_a_control_map_without_weights_is_said() -> None:
    control = Control(image=b"", preprocessor="depth")
    fitted = fit(ABLE, Request(prompt="a cat", controls=(control,)))
    assert fitted.request.controls == ()
    assert "no ControlNet for depth, only canny" in fitted.honoured["control"].note
    for any_map in (replace(ABLE, controls={"*": "weights"}),):
        fitted = fit(any_map, Request(prompt="a cat", controls=(control,)))
        assert fitted.request.controls == (control,)


EDGES = Control(image=b"edges")
DEPTH = Control(image=b"depth", preprocessor="depth")
LATE = Control(image=b"late", weight=0.5, start=0.5)


def test_several_controls_are_taken_in_their_order() -> None:
    fitted = fit(ABLE, Request(prompt="a cat", controls=(EDGES, LATE)))
    assert fitted.request.controls == (EDGES, LATE)
    assert fitted.controls == {"control": EDGES, "control_2": LATE}
    assert fitted.honoured["control_2"] == Applied("canny", "canny")


def test_a_control_that_is_not_taken_leaves_the_others_their_names() -> None:
    fitted = fit(ABLE, Request(prompt="a cat", controls=(EDGES, DEPTH, LATE)))
    assert fitted.controls == {"control": EDGES, "control_3": LATE}
    assert fitted.request.controls == (EDGES, LATE)
    ignored = fitted.honoured["control_2"]
    assert ignored.used is None
    assert ignored.note == (
        "control picture 2 ignored: Able has no ControlNet for depth, only canny"
    )


@pytest.mark.parametrize(("most", "words"), [(1, "one"), (2, "2 at most")])
def test_more_controls_than_a_model_takes_are_said(most: int, words: str) -> None:
    model = replace(ABLE, most_controls=most)
    fitted = fit(model, Request(prompt="a cat", controls=(EDGES, LATE, EDGES)))
    assert fitted.request.controls == (EDGES, LATE)[:most]
    assert fitted.honoured["control_3"].note == f"control picture 3 ignored: Able takes {words}"


def test_a_model_that_takes_none_says_so_once() -> None:
    fitted = fit(PLAIN, Request(prompt="a cat", controls=(EDGES, DEPTH)))
    (name,) = [name for name in fitted.honoured if name.startswith("control")]
    note = "control pictures ignored: Plain takes none"
    assert fitted.honoured[name] == Applied("canny, depth", None, note)


def test_too_many_pictures_become_fewer() -> None:
    fitted = fit(ABLE, Request(prompt="a cat", count=9))
    assert fitted.request.count == 4
    assert fitted.honoured["count"] == Applied(9, 4, "4 instead of 9 pictures")


@pytest.mark.parametrize(
    ("width", "height", "used"),
    [
        (512, 512, (512, 512)),
        (1000, 1000, (992, 992)),
        (100, 5000, (256, 1024)),
        (512, None, (512, 512)),
        (None, 640, (640, 640)),
    ],
)
def test_a_size_is_rounded_into_what_is_allowed(
    width: int | None, height: int | None, used: tuple[int, int]
) -> None:
    fitted = fit(replace(PLAIN, sizes=ANY), Request(prompt="x", width=width, height=height))
    assert (fitted.request.width, fitted.request.height) == used
    changed = used != (width or height, height or width)
    assert (" instead of " in fitted.honoured["size"].note) is changed


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ((1024, 1024), (1024, 1024)),
        ((512, 512), (1024, 1024)),
        ((1920, 1080), (1536, 1024)),
        ((600, 1000), (1024, 1536)),
        ((1100, 1000), (1024, 1024)),
    ],
)
def test_among_native_sizes_the_shape_decides(
    asked: tuple[int, int], used: tuple[int, int]
) -> None:
    assert closest_size(NATIVE, *asked) == used


def starter(*supports: str, **changes: Any) -> Model:
    return replace(PLAIN, label="Starter", supports=frozenset({"image", *supports}), **changes)


def test_a_start_picture_comes_with_a_strength() -> None:
    asked = Request(prompt="x", image=plain(), strength=0.4)
    fitted = fit(starter("strength"), asked)
    assert (fitted.request.image, fitted.request.strength) == (plain(), 0.4)
    assert fitted.honoured["strength"] == Applied(0.4, 0.4)
    own = fit(starter("strength", defaults={"strength": 0.3}), replace(asked, strength=None))
    assert own.honoured["strength"] == Applied(None, 0.3)


def test_a_model_that_takes_no_strength_says_so() -> None:
    fitted = fit(starter(), Request(prompt="x", image=plain(), strength=0.4))
    assert fitted.request.strength is None
    assert fitted.honoured["strength"].note == (
        "strength ignored: Starter decides itself how much it changes"
    )
    silent = fit(starter(), Request(prompt="x", image=plain()))
    assert "strength" not in silent.honoured


def test_a_strength_without_a_start_picture_is_nothing() -> None:
    fitted = fit(starter("strength"), Request(prompt="x", strength=0.4))
    assert fitted.request.strength is None and "strength" not in fitted.honoured


@pytest.mark.parametrize(
    ("sizes", "picture", "used"),
    [
        (Sizes(native=((512, 512),), multiple=8, least=256, most=1024), (128, 128), (512, 512)),
        (Sizes(native=((512, 512),), multiple=8, least=256, most=1024), (1536, 1024), (624, 416)),
        (NATIVE, (128, 64), (1536, 1024)),
    ],
)
def test_a_start_picture_gives_its_shape_and_the_model_its_size(
    sizes: Sizes, picture: tuple[int, int], used: tuple[int, int]
) -> None:
    asked = Request(prompt="x", image=plain(*picture))
    fitted = fit(starter(sizes=sizes), asked)
    assert (fitted.request.width, fitted.request.height) == used
    assert fitted.honoured["size"] == Applied(None, f"{used[0]}x{used[1]}")
    own = fit(replace(PLAIN, sizes=sizes), asked)
    assert (own.request.width, own.request.height) == sizes.native[0]


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.01])
def test_a_strength_that_makes_no_sense_is_refused(strength: float) -> None:
    with pytest.raises(BadInput, match=r"between 0\.01 and 1"):
        fit(starter("strength"), Request(prompt="x", image=plain(), strength=strength))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n "}, "prompt is empty"),
        ({"prompt": "x" * 51}, "51 characters and Able reads at most 50"),
        ({"count": 0}, "At least one picture"),
        ({"num_inference_steps": 0}, "At least one step"),
        ({"width": -8, "height": 8}, "at least one pixel"),
        ({"width": 64, "height": -1}, "at least one pixel"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        fit(ABLE, replace(Request(prompt="a cat"), **asked))
