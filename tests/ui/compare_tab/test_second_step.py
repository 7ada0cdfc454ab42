"""The second step's fields: which models are offered, and what they ask for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from backends.base import Request
from compare.catalogue import catalogue
from compare.lineup import build
from compare.records import RunSpec, SecondStep
from compare.settings import Settings
from ui.compare_tab.second_step import SecondStepSection
from ui.context import Context

SPEC = RunSpec(Request(prompt="a fox"))


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]


@pytest.fixture
def step(settings: Settings) -> Iterator[SecondStepSection]:
    with gr.Blocks():
        yield SecondStepSection(Context(settings, catalogue.load()))


def asks(step: SecondStepSection, **fields: Any) -> SecondStep | None:
    asked = step.asked(SPEC, {f"then_{name}": value for name, value in fields.items()})
    return asked.second_step


def test_untouched_there_is_none(step: SecondStepSection) -> None:
    assert asks(step, model="", prompt="", strength=0.7) is None
    assert asks(step, model=None, prompt="left over", strength=0.7) is None


def test_a_model_goes_on_with_its_own_prompt_and_strength(step: SecondStepSection) -> None:
    then = asks(step, model="miniature/masked", prompt=" a wolf ", strength=0.4)
    assert then == SecondStep(model="miniature/masked", prompt="a wolf", strength=0.4)


def test_a_strength_is_asked_only_of_models_that_take_one(step: SecondStepSection) -> None:
    then = asks(step, model="openai/gpt-image-2", prompt="", strength=0.4)
    assert then == SecondStep(model="openai/gpt-image-2")


def test_only_models_that_take_a_picture_are_offered_and_say_what_they_need(
    step: SecondStepSection, settings: Settings
) -> None:
    lineup = build(settings)
    choices = dict[str, str]((id, label) for label, id in step.choices(lineup)[step.model].choices)
    assert choices["miniature/diffusion"] == "Miniature diffusion"
    assert choices["openai/gpt-image-2"] == "gpt-image-2 (needs a key)"
    assert choices["a1111/current"].endswith("(not available)")
    assert not {"openai/dall-e-2", "openai/gpt-image-1", "stability/core"} & choices.keys()
    labels = list(choices.values())
    assert labels[0] == "none"
    needing = [label.endswith(")") for label in labels if label != "none"]
    assert needing == sorted(needing)


def test_what_is_restored_asks_for_the_same_again(step: SecondStepSection) -> None:
    then = SecondStep(model="miniature/masked", prompt="a wolf", strength=0.25)
    standing = step.standing(replace(SPEC, second_step=then))
    fields = {name: standing[widget] for name, widget in step.widgets.items()}
    assert step.asked(SPEC, fields).second_step == then
    cleared = step.standing(SPEC)
    fields = {name: cleared[widget] for name, widget in step.widgets.items()}
    assert step.asked(SPEC, fields).second_step is None


def test_its_price_is_that_of_one_picture(step: SecondStepSection, settings: Settings) -> None:
    lineup = build(settings)
    assert step.expected(lineup, SPEC) is None
    second = SecondStep(model="stability/sd3.5-medium")
    told = step.expected(lineup, RunSpec(Request(prompt="a fox", count=3), second_step=second))
    assert told is not None and told[0] == "Stable Diffusion 3.5 Medium"
    assert str(told[1].high) == "0.035"
    unknown = step.expected(lineup, replace(SPEC, second_step=SecondStep(model="no/such")))
    assert unknown is not None and unknown[1].high is None
