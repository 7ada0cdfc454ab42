"""Every section keeps the protocol: it changes what it declares, and restores what it was told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from backends.base import Control, Request
from compare.catalogue import catalogue
from compare.lineup import build
from compare.records import Provenance, RunSpec, SecondStep
from compare.settings import Settings
from tests.servers.pictures import plain
from ui.board.renderer import Renderer
from ui.compare_tab import form
from ui.compare_tab.tab import CompareTab
from ui.context import Context

PLAIN = RunSpec(Request(prompt="a fox", seed=1))
FULL = RunSpec(
    Request(
        prompt="a red fox",
        negative_prompt="trees",
        width=512,
        height=768,
        num_inference_steps=12,
        guidance_scale=3.5,
        seed=0,
        count=2,
        controls=(
            Control(image=plain(32, 32), weight=0.5, parameters={"low": 60}),
            Control(image=plain(48, 48), preprocessor="depth", start=0.2, end=0.8),
        ),
        image=plain(64, 64),
        strength=0.4,
        options={"openai": {"quality": "high"}},
    ),
    second_step=SecondStep(model="miniature/masked", prompt="a wolf", strength=0.25),
    provenance=Provenance(original_prompt="a fox", rewritten_by="google:g"),
)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]


@pytest.fixture
def tab(settings: Settings) -> Iterator[CompareTab]:
    context = Context(settings, catalogue.load())
    with gr.Blocks():
        yield CompareTab(context, Renderer(context.catalogue), gr.State({}))


@pytest.mark.parametrize("spec", [PLAIN, FULL], ids=["plain", "full"])
def test_a_section_changes_only_what_it_declares(
    tab: CompareTab, settings: Settings, spec: RunSpec
) -> None:
    lineup = build(settings)
    for section in tab.sections:
        assert set(section.values_for(spec, lineup)) <= set(section.outputs), section
        assert set(section.refresh(lineup)) <= set(section.refresh_outputs), section
    names = [name for section in tab.sections for name in section.widgets]
    assert len(names) == len(set(names)) and set(tab.form) == set(names)


@pytest.mark.parametrize("spec", [PLAIN, FULL], ids=["plain", "full"])
async def test_what_is_restored_asks_for_the_same_again(
    tab: CompareTab, settings: Settings, spec: RunSpec
) -> None:
    lineup = build(settings)
    for image in (spec.request.image, *(control.image for control in spec.request.controls)):
        if image is not None:
            path = lineup.store.input_path(image)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
    shown: dict[Any, Any] = {}
    for section in tab.sections:
        shown |= section.values_for(spec, lineup)
    fields = {name: shown[widget] for name, widget in tab.form.items() if widget in shown}
    assert await form.to_specs(fields, tab.sections, tab.context) == (spec,)
