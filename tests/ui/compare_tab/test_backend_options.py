"""Backends' own options in the form, and which of them a visitor may fill with what."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from backends.base import Request
from compare.records import RunSpec, SecondStep
from ui.compare_tab.backend_options import BackendOptions, for_backends, outside_folders

SPEC = RunSpec(Request(prompt="a"))


@pytest.fixture
def options() -> Iterator[BackendOptions]:
    with gr.Blocks():
        yield BackendOptions()


def test_options_are_sorted_by_backend_and_unset_ones_left_out(options: BackendOptions) -> None:
    asked: dict[str, Any] = {"prompt": "a", "openai.quality": "low", "local.scheduler": ""}
    assert options.apply(SPEC, asked).request.options == {"openai": {"quality": "low"}}


def test_options_that_backends_share_reach_each_of_them(options: BackendOptions) -> None:
    asked: dict[str, Any] = {"prompt": "a", "local+miniature.previews": False}
    both = {"local": {"previews": False}, "miniature": {"previews": False}}
    assert options.apply(SPEC, asked).request.options == both


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
    sentence = outside_folders(RunSpec(Request(prompt="a", options=asked)))
    assert sentence.startswith(
        "At a public address only the files in the owner's folders can be used."
    )
    second = SecondStep(model="miniature/diffusion", options=asked)
    assert outside_folders(RunSpec(Request(prompt="a"), second_step=second)) == sentence


def test_names_and_other_options_are_a_visitors_too() -> None:
    asked = {"local": {"loras": "style:0.5, other", "scheduler": "Euler"}, "gone": {"a": "b/c"}}
    assert outside_folders(RunSpec(Request(prompt="a", options=asked))) == ""


def test_the_line_of_settings_counts_what_the_chosen_backends_have_set(
    options: BackendOptions,
) -> None:
    fields: dict[str, Any] = {
        "openai.quality": "high",
        "openai.background": "auto",
        "local+miniature.loras": "watercolour:0.8",
        "local+miniature.previews": False,
    }
    assert options.summary(fields, {"openai"}) == "1 set"
    assert options.summary(fields, {"local", "miniature", "openai"}) == "3 set"
    assert options.summary(fields, {"stability"}) == "none"


def test_options_of_no_chosen_model_are_not_sent() -> None:
    options = {"openai": {"quality": "high"}, "a1111": {"scheduler": "Karras"}}
    spec = RunSpec(Request(prompt="a", options=options))
    assert for_backends(spec, {"openai"}).request.options == {"openai": {"quality": "high"}}
