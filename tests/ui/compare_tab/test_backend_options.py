"""Backends' own options in the form, and which of them a visitor may fill with what."""

import pytest

from backends.base import Request
from compare.records import RunSpec, SecondStep
from ui.compare_tab import backend_options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loras", "style, /etc/style.safetensors:0.5"),
        ("loras", "someone/style"),
        ("loras", "C:\\style.safetensors"),
        ("embeddings", "../secret"),
    ],
)
def test_at_a_public_address_nobody_names_files_or_hub_ids(name: str, value: str) -> None:
    asked = {"miniature": {name: value}}
    said = backend_options.beyond_the_folders(RunSpec(Request(prompt="a", options=asked)))
    assert said.startswith("At a public address only the files in the owner's folders can be used.")
    later = RunSpec(
        Request(prompt="a"), second_step=SecondStep(model="miniature/diffusion", options=asked)
    )
    assert backend_options.beyond_the_folders(later) == said


def test_names_and_other_options_are_a_visitors_too() -> None:
    asked = {"local": {"loras": "style:0.5, other", "scheduler": "Euler"}, "gone": {"a": "b/c"}}
    assert backend_options.beyond_the_folders(RunSpec(Request(prompt="a", options=asked))) == ""
