"""The way from the form's fields to RunSpecs."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from backends.base import Request
from compare.catalogue import catalogue
from compare.prompts.template import BadVariants
from compare.records import Provenance, RunSpec
from compare.settings import Settings
from ui.board.renderer import Renderer
from ui.compare_tab import form
from ui.compare_tab.pictures import PictureFile
from ui.compare_tab.sections import MODEL_DEFAULT, BadField
from ui.compare_tab.tab import CompareTab
from ui.context import Context

RECORD = {"original": "a star", "by": "google:g", "rewritten": "a red star at night"}


@pytest.fixture
def tab(home: Path) -> Iterator[CompareTab]:
    settings = Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]
    context = Context(settings, catalogue.load())
    with gr.Blocks():
        yield CompareTab(context, Renderer(context.catalogue), gr.State({}))


@pytest.fixture
def settings() -> Iterator[form.SharedSettings]:
    with gr.Blocks():
        yield form.SharedSettings(form.prompt_box())


def request(settings: form.SharedSettings, **values: Any) -> Request:
    return settings.apply(RunSpec(Request(prompt="")), values).request


async def spec(tab: CompareTab, **values: Any) -> RunSpec:
    (only,) = await form.to_specs(values, tab.sections, tab.context)
    return only


def test_every_setting_of_a_request_has_a_widget(settings: form.SharedSettings) -> None:
    widgets = set(settings.widgets)
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
        (MODEL_DEFAULT, (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_size_is_read_however_it_is_written(words: object, size: tuple[int, int]) -> None:
    assert form.parse_size(words) == size


@pytest.mark.parametrize("words", ["big", "512", "512×", "-5×5", "512×512×3", "9" * 400])
def test_a_size_that_is_none_is_told_with_an_example(words: str) -> None:
    with pytest.raises(BadField, match=r"such as 512×768"):
        form.parse_size(words)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1.5), ("num_inference_steps", "many"), ("guidance_scale", "high")]
)
def test_a_number_that_is_none_is_told(
    settings: form.SharedSettings, name: str, value: object
) -> None:
    with pytest.raises(BadField):
        request(settings, prompt="a", **{name: value})


def test_what_is_restored_asks_for_the_same_again(settings: form.SharedSettings) -> None:
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
    assert request(settings, **form.field_values(asked)) == asked


async def test_every_section_adds_its_fields_to_one_spec(tab: CompareTab, tmp_path: Path) -> None:
    for name in ("edges", "start"):
        (tmp_path / name).write_bytes(name.encode())
    made = await spec(
        tab,
        prompt="a red star at night",
        seed=3,
        rewrite=RECORD,
        control_picture=PictureFile(tmp_path / "edges"),
        start_picture=PictureFile(tmp_path / "start"),
        start_strength="0.5",
        then_model="miniature/masked",
        **{"openai.quality": "low"},
    )
    assert (made.request.prompt, made.request.seed) == ("a red star at night", 3)
    assert made.request.controls[0].image == b"edges"
    assert (made.request.image, made.request.strength) == (b"start", 0.5)
    assert made.request.options == {"openai": {"quality": "low"}}
    assert made.second_step is not None and made.second_step.model == "miniature/masked"
    assert made.provenance == Provenance(original_prompt="a star", rewritten_by="google:g")


async def test_a_prompt_with_variants_becomes_a_spec_for_each(tab: CompareTab, home: Path) -> None:
    async def prompts(**values: Any) -> list[str]:
        values = {"prompt": "a {red|blue|green} star", **values}
        return [
            each.request.prompt for each in await form.to_specs(values, tab.sections, tab.context)
        ]

    every = ["a red star", "a blue star", "a green star"]
    assert await prompts() == await prompts(variants="all", some=1) == every
    assert len(set(await prompts(variants="some", some=2)) & set(every)) == 2
    assert await prompts(variants="off") == ["a {red|blue|green} star"]
    assert await prompts(prompt="a star", variants="some", some=2) == ["a star"]
    with pytest.raises(BadVariants):
        await prompts(variants="some", some=0)


async def test_the_record_of_a_rewrite_goes_with_the_prompt_and_not_with_another(
    tab: CompareTab,
) -> None:
    mine = await spec(tab, prompt="a red star, at night", rewrite=RECORD)
    assert mine.provenance == Provenance(original_prompt="a star", rewritten_by="google:g")
    other = await spec(tab, prompt="three cats", rewrite=RECORD)
    assert other.provenance == Provenance()
    assert (await spec(tab, prompt="a star", rewrite={})).provenance == Provenance()
