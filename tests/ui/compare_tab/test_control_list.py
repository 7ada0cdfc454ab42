"""The control pictures of the form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from backends.base import Control, Request
from compare.catalogue import catalogue
from compare.records import RunSpec
from compare.settings import Settings
from ui.compare_tab.control_list import ControlList
from ui.context import Context


@pytest.fixture
def controls(home: Path) -> Iterator[ControlList]:
    settings = Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]
    with gr.Blocks():
        yield ControlList(Context(settings, catalogue.load()))


def test_control_pictures_come_from_the_form_and_from_what_was_added(
    controls: ControlList,
) -> None:
    def parsed(fields: dict[str, Any]) -> tuple[Control, ...]:
        return controls.apply(RunSpec(Request(prompt="a")), fields).request.controls

    added: list[dict[str, Any]] = [
        {"key": "a", "control_picture": None, "control_weight": 2},
        {"control_picture": b"pose", "control_preprocessor": "openpose"}
        | {"control_parameters": {"include_hand": True}, "control_weight": 0.5}
        | {"control_start": 0.2, "control_end": 0.8},
    ]
    fields = {"control_picture": b"edges", "more_controls": added}
    pose = Control(
        image=b"pose",
        preprocessor="openpose",
        parameters={"include_hand": True},
        weight=0.5,
        start=0.2,
        end=0.8,
    )
    assert parsed(fields) == (Control(image=b"edges"), pose)
    assert parsed({**fields, "control_picture": None}) == (pose,)
    assert parsed({"more_controls": []}) == ()
