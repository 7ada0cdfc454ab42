"""The row below a prompt that holds variants: how many there are, and which of them to draw."""

import asyncio
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.blocks import Block, BlockContext
from gradio.components import Component
from markupsafe import Markup

from compare.prompts.template import holds_variants
from compare.prompts.variants import MOST, spread
from compare.prompts.wildcards import Folder
from compare.records import RunSpec
from ui.context import Context

ALL, SOME, OFF = "all", "some", "off"
CHOICES = [("each of them", ALL), ("some at random", SOME), ("as it is written", OFF)]

# Typing costs no round trip, unless the prompt holds variants, or held some a moment ago.
COUNT = r"""(text) => {
  const holds = /\{[^]*(\||\$\$)|__[^\s_]/.test(text || "");
  const held = window.lineupHeldVariants;
  window.lineupHeldVariants = holds;
  clearTimeout(window.lineupCounting);
  if (holds || held) window.lineupCounting = setTimeout(
    () => document.querySelector("button.lu-recount")?.click(), 300);
}"""

RECOUNT = """() => document.querySelector("button.lu-recount")?.click()"""

# A click on Compare that nobody may have known starts several runs is answered with this. The page
# then asks for the sentence, and for all that changes with it.
UNANNOUNCED = '<span class="lu-untold"></span>'
ANNOUNCE = """() => {
  if (!document.querySelector(".lu-untold")) return;
  clearTimeout(window.lineupCounting);
  document.querySelector("button.lu-tell")?.click();
}"""


class VariantsRow:
    """Lays the row out, hidden; `told` is how many runs the page has said Compare would start."""

    def __init__(self, context: Context) -> None:
        self._home = context.settings.home
        self.told = gr.State(1)
        self.recount = gr.Button("Count the variants", visible="hidden", elem_classes="lu-recount")
        self.tell = gr.Button("Tell", visible="hidden", elem_classes="lu-tell")
        with gr.Row(visible=False, elem_classes="lu-several") as self._row:
            self._note = gr.HTML(elem_classes="lu-several-note", apply_default_css=False)
            self.which = gr.Radio(CHOICES, value=ALL, show_label=False, container=False)
            self.number = gr.Number(
                4, label="How many at random", precision=0, minimum=1, maximum=MOST, visible=False
            )
        self.widgets: dict[str, Component] = {"variants": self.which, "some": self.number}

    @property
    def shown(self) -> list[Component | BlockContext]:
        """What `show` may change."""
        return [self.told, self._row, self._note, self.number]

    async def of(self, spec: RunSpec, fields: Mapping[str, Any]) -> tuple[RunSpec, ...]:
        """Return the specs that a form asks for, one for each variant.

        Raises:
            BadVariants: the variants cannot be read, or there are too many.
        """
        which = fields.get("variants", ALL)
        if which == OFF or not holds_variants(spec.request.prompt):
            return (spec,)
        most = int(fields.get("some") or 0) if which == SOME else None
        return await asyncio.to_thread(lambda: spread(spec, Folder(self._home), most=most))

    def show(self, fields: Mapping[str, Any], number: int) -> dict[Block, Any]:
        """Show the row where the prompt holds variants, and say what Compare would start."""
        return {
            self.told: number,
            self._row: gr.Row(visible=holds_variants(str(fields.get("prompt") or ""))),
            self._note: _note(number),
            self.number: gr.Number(visible=fields.get("variants") == SOME),
        }

    def standing(self, spec: RunSpec) -> dict[Block, Any]:
        """Choose what draws the prompt again as it was."""
        return {self.which: OFF if holds_variants(spec.request.prompt) else ALL}


def again(number: int, estimate: str) -> str:
    """Return what to say to a click that nobody may have known starts several runs."""
    words = Markup('<span class="lu-bad" role="alert">{} variants: press Compare again.</span> {}')
    return str(words.format(number, Markup(estimate)))


def _note(number: int) -> str:
    match number:
        case 0:
            return "<b>Variants</b>"
        case 1:
            return "<b>Variants</b> are drawn as they are written."
        case _:
            return f"<b>{number} variants</b>, each a run of its own"
