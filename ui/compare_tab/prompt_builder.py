"""The prompt builder: compose a prompt from its parts, with a short guide beside it."""

from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component

from compare.prompts.builder import Parts, compose
from compare.prompts.template import BadVariants
from compare.prompts.wildcards import Folder
from ui.context import Context
from ui.events import QUICK

LABELS = {
    "medium": "Medium",
    "style": "Style",
    "lighting": "Lighting",
    "lens": "Lens",
    "composition": "Composition",
    "quality": "Finish",
    "negative": "Without",
}
GUIDE = """
<div class="lu-guide">
<p><b>Say what is there.</b> Subject first, then what it does and where: “a red fox asleep on a
mossy wall”. Models draw what is named; “beautiful” and “amazing” add little.</p>
<p><b>One look.</b> One medium and one style agree with each other; three pull apart. Light and
framing change a picture more than praise does.</p>
<p><b>What should not be there</b> goes into Without, one thing after a comma and no “no”: models
read “no people” as people.</p>
<p><b>Try several at once.</b> <code>{dawn|dusk}</code> draws both, <code>{2$$red|blue|gold}</code>
two of three, <code>__lighting__</code> each line of a list; put lists of your own into the folder
<code>wildcards</code> of Lineup's data.</p>
</div>
"""
EMPTY_HINT = "The prompt shows here as you fill in its parts."


class PromptBuilder:
    """Lays the builder out; a button copies its prompt into the form's boxes."""

    def __init__(self, context: Context, prompt: Component, negative_prompt: Component) -> None:
        wildcards = Folder(context.settings.home)
        with gr.Row(elem_classes="lu-builder"):
            with gr.Column(scale=3, min_width=300):
                parts: dict[str, Component] = {"subject": _subject()}
                with gr.Row(elem_classes="lu-parts"):
                    for name, label in LABELS.items():
                        parts[name] = _part(label, _choices(wildcards, name))
                self._result = gr.Textbox(
                    label="Prompt", placeholder=EMPTY_HINT, interactive=False, lines=2, max_lines=5
                )
                use = gr.Button("Use this prompt", size="sm", elem_classes="lu-use")
            with gr.Column(scale=2, min_width=260):
                gr.HTML(GUIDE, apply_default_css=False)
        inputs = dict[str, Component | BlockContext](parts)
        gr.on(
            [part.change for part in parts.values()],  # pyright: ignore[reportAttributeAccessIssue]
            _compose,
            inputs_kwargs=inputs,
            outputs=self._result,
            trigger_mode="always_last",
            **QUICK,
        )
        gr.on(use.click, _use, inputs_kwargs=inputs, outputs=[prompt, negative_prompt], **QUICK)


def _choices(wildcards: Folder, name: str) -> tuple[str, ...]:
    """Return the choices for a part: its wildcard list, empty if that cannot be read."""
    try:
        return wildcards.get(name, ())
    except BadVariants:
        return ()


def _subject() -> gr.Textbox:
    return gr.Textbox(
        "",
        label="Subject",
        placeholder="what the picture is of, what it does, and where",
        max_lines=3,
        max_length=4_000,
    )


def _part(label: str, choices: tuple[str, ...]) -> gr.Dropdown:
    return gr.Dropdown(
        [("–", ""), *((choice, choice) for choice in choices)],
        value="",
        label=label,
        allow_custom_value=True,
        min_width=150,
    )


def _parts(fields: dict[str, Any]) -> Parts:
    return Parts(**{name: str(value or "") for name, value in fields.items()})


def _compose(**fields: Any) -> str:
    composed = compose(_parts(fields))
    without = f"\nWithout: {composed.negative_prompt}" if composed.negative_prompt else ""
    return composed.prompt + without


def _use(**fields: Any) -> tuple[Any, Any]:
    """Fill the boxes of the prompts; an empty result leaves its box as it is."""
    composed = compose(_parts(fields))
    return composed.prompt or gr.skip(), composed.negative_prompt or gr.skip()
