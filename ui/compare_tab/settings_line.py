"""The line of settings: what each is set to, and the panel that each opens.

A closed setting still says its value. The values of shared settings come from their widgets by a
script, without a round trip; those of the sections (control, start picture, ...) are the property
`sections`, which the server sends with the estimate. `settings.js` draws the line, opens one panel
at a time, and shows the panel of a field that is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui.page_files import call, script


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting of the line.

    `name` is that of its panel, `fields` are the names under which `validation.problems` and
    `BadField` speak of what the panel holds.
    """

    name: str
    label: str
    fields: Sequence[str] = ()


ENTRIES: Final = (
    Entry("size", "Size", ("size", "width", "height")),
    Entry("seed", "Seed", ("seed",)),
    Entry("count", "Count", ("count",)),
    Entry("steps", "Steps", ("num_inference_steps", "guidance_scale")),
    Entry("negative", "Negative", ("negative_prompt",)),
    Entry("control", "Control", ("controls",)),
    Entry("start", "Start", ("image", "strength")),
    Entry("second", "Second step", ("then",)),
    Entry("options", "Options", ("options",)),
    Entry("builder", "Prompt builder"),
    Entry("presets", "Presets"),
)
SHARED: Final = (
    "size",
    "seed",
    "locked",
    "count",
    "num_inference_steps",
    "guidance_scale",
    "negative_prompt",
)
"""The widgets whose values the line's value lists, in this order."""
NONE: Final = "none"
REVEAL: Final = call("settings.js", "reveal")
"""Opens and marks the field that keeps Compare from starting, if one does."""


def panel(name: str) -> gr.Column:
    """Return the panel of the entry `name`, to lay its widgets out in."""
    assert any(name == entry.name for entry in ENTRIES)
    return gr.Column(elem_classes=["lu-fold", f"lu-fold-{name}"])


def component() -> gr.HTML:
    """Return the line; its value is the list of the values of `SHARED`."""
    return gr.HTML(
        [],  # pyright: ignore[reportArgumentType]  # a gr.HTML takes any JSON
        html_template='<div class="lu-settings-line" role="group" aria-label="Settings"></div>',
        js_on_load=script("settings.js"),
        apply_default_css=False,
        entries=[asdict(entry) for entry in ENTRIES],
        sections={},
    )


def follow(line: gr.HTML, widgets: Mapping[str, Component]) -> None:
    """Show the values of the widgets of `SHARED` in the line, now and whenever one changes."""
    line.value = [getattr(widgets[name], "value", None) for name in SHARED]  # pyright: ignore[reportAttributeAccessIssue]
    changes: Sequence[Any] = [widgets[name].change for name in SHARED]  # pyright: ignore[reportAttributeAccessIssue]
    inputs = [widgets[name] for name in SHARED]
    gr.on(changes, None, inputs, line, js="(...values) => [values]", show_progress="hidden")


def with_sections(sections: Mapping[str, str]) -> gr.HTML:
    """Return the update that shows what each section is set to, by the entry's name."""
    return gr.HTML(sections=dict(sections))
