"""The way from the form's widgets to a Request, and back."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from backends.base import Control, Request
from compare.records import Provenance, RunSpec
from ui.compare_tab import form


def test_every_setting_of_a_request_has_a_widget() -> None:
    with gr.Blocks():
        widgets = set(form.settings()) | {"prompt", "seed"}
    sized = (widgets - {"size"}) | {"width", "height"}
    elsewhere = {"controls", "options", "image", "strength"}
    assert sized == {field.name for field in fields(Request)} - elsewhere


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("512×768", (512, 768)),
        ("512x768", (512, 768)),
        (" 512 X 768 ", (512, 768)),
        ("512 768", (512, 768)),
        ("512, 768", (512, 768)),
        (form.OWN, (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_size_is_read_however_it_is_written(words: object, size: tuple[int, int]) -> None:
    assert form.size(words) == size


@pytest.mark.parametrize("words", ["big", "512", "512×", "-5×5", "512×512×3", "9" * 400])
def test_a_size_that_is_none_is_told_with_an_example(words: str) -> None:
    with pytest.raises(form.BadField, match=r"such as 512×768"):
        form.size(words)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1.5), ("num_inference_steps", "many"), ("guidance_scale", "high")]
)
def test_a_number_that_is_none_is_told(name: str, value: object) -> None:
    with pytest.raises(form.BadField):
        form.to_spec({"prompt": "a", name: value})


def test_what_is_restored_asks_for_the_same_again() -> None:
    asked = Request(
        prompt="نجمة حمراء ⭐",
        negative_prompt="blue",
        width=512,
        height=768,
        num_inference_steps=12,
        guidance_scale=3.5,
        seed=0,
        count=4,
    )
    assert form.to_spec(form.from_request(asked)) == RunSpec(asked)


def test_the_record_of_a_rewrite_goes_with_the_prompt_and_not_with_another() -> None:
    record = {"original": "a star", "by": "google:g", "rewritten": "a red star at night"}
    mine = form.to_spec({"prompt": "a red star, at night", "rewrite": record})
    assert mine.provenance == Provenance(original_prompt="a star", rewritten_by="google:g")
    other = form.to_spec({"prompt": "three cats", "rewrite": record})
    assert other.provenance == Provenance()
    assert form.to_spec({"prompt": "a star", "rewrite": {}}).provenance == Provenance()


def test_control_pictures_come_from_the_form_and_from_what_was_added(tmp_path: Path) -> None:
    for name in ("edges", "pose"):
        (tmp_path / name).write_bytes(name.encode())
    added: list[dict[str, Any]] = [
        {"key": "a", "control_picture": None, "control_weight": 2},
        {"control_picture": str(tmp_path / "pose"), "control_preprocessor": "openpose"}
        | {"control_parameters": {"include_hand": True}, "control_weight": 0.5}
        | {"control_start": 0.2, "control_end": 0.8},
    ]
    fields = {"prompt": "a", "control_picture": str(tmp_path / "edges"), "more_controls": added}
    pose = Control(
        image=b"pose",
        preprocessor="openpose",
        parameters={"include_hand": True},
        weight=0.5,
        start=0.2,
        end=0.8,
    )
    assert form.to_spec(fields).request.controls == (Control(image=b"edges"), pose)
    assert form.to_spec({**fields, "control_picture": None}).request.controls == (pose,)
    assert form.to_spec({"prompt": "a", "more_controls": []}).request.controls == ()


def test_options_are_sorted_by_backend_and_unset_ones_left_out() -> None:
    asked: dict[str, Any] = {"prompt": "a", "openai.quality": "low", "local.scheduler": ""}
    assert form.to_spec(asked).request.options == {"openai": {"quality": "low"}}


def test_options_that_backends_share_reach_each_of_them() -> None:
    asked: dict[str, Any] = {"prompt": "a", "local+miniature.previews": False}
    both = {"local": {"previews": False}, "miniature": {"previews": False}}
    assert form.to_spec(asked).request.options == both
