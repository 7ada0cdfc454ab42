"""The row below a prompt with variants: their number, and which of them to draw."""

from collections.abc import Sequence

import gradio as gr
from gradio.blocks import Block, BlockContext
from gradio.components import Component
from markupsafe import Markup

from compare.lineup import Lineup
from compare.prompts.template import holds_variants
from compare.prompts.variants import MOST
from compare.records import RunSpec
from ui.compare_tab.sections import Fields, Section, Updates

ALL, SOME, OFF = "all", "some", "off"
CHOICES = [("each of them", ALL), ("some at random", SOME), ("as it is written", OFF)]

# Typing costs no round trip, unless the prompt holds variants, or held some at the last change; and
# one after a pause, if the prompt is long or holds a notation: some models may not read all of it.
COUNT = r"""(text) => {
  text ||= "";
  const holds = /\{[^]*(\||\$\$)|__[^\s_]/.test(text);
  const lost = text.length > 60 || /[(\[{<][^]*[:|)\]}>]|::|--\w|\w[+-]{2}|embedding:/.test(text)
    || /\b(BREAK|AND|ADD\w+)\b/.test(text);
  const [held, told] = window.lineupHeldVariants ?? [false, false];
  window.lineupHeldVariants = [holds, lost];
  clearTimeout(window.lineupCounting);
  if (holds || held || lost || told) window.lineupCounting = setTimeout(
    () => document.querySelector("button.lu-recount")?.click(), holds || held ? 300 : 700);
}"""

RECOUNT = """() => document.querySelector("button.lu-recount")?.click()"""

# The same, if the estimate names models that cannot draw.
RECOUNT_UNABLE = """() => document.querySelector(".lu-said .lu-warned") &&
  document.querySelector("button.lu-recount")?.click()"""

# The answer to a click on Compare that would start more runs than the page has announced. The page
# then presses the hidden "announce" button, which brings the sentence and all that changes with it.
UNANNOUNCED = '<span class="lu-untold"></span>'
ANNOUNCE = """() => {
  if (!document.querySelector(".lu-untold")) return;
  clearTimeout(window.lineupCounting);
  document.querySelector("button.lu-tell")?.click();
}"""


class VariantsRow(Section):
    """The row, hidden until the prompt holds variants.

    `announced` is the number of runs that the page has said Compare would start. `recount` and
    `announce` are hidden buttons that the page's scripts press.
    """

    def __init__(self) -> None:
        self.announced = gr.State(1)
        self.recount = gr.Button("Count the variants", visible="hidden", elem_classes="lu-recount")
        self.announce = gr.Button("Tell", visible="hidden", elem_classes="lu-tell")
        with gr.Row(visible=False, elem_classes="lu-several") as self._row:
            self._note = gr.HTML(elem_classes="lu-several-note", apply_default_css=False)
            self._which = gr.Radio(CHOICES, value=ALL, show_label=False, container=False)
            self._limit = gr.Number(
                4, label="How many at random", precision=0, minimum=1, maximum=MOST, visible=False
            )
        self.widgets = {"variants": self._which, "some": self._limit}

    @property
    def outputs(self) -> Sequence[Block]:
        """The choice of variants."""
        return [self._which]

    @property
    def count_outputs(self) -> Sequence[Component | BlockContext]:
        """The components that `show_count` changes."""
        return [self.announced, self._row, self._note, self._limit]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` unchanged: the variants are expanded once all sections are applied."""
        return spec

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Choose so that the prompt of `spec` is drawn as it is: it is a variant already."""
        return {self._which: OFF if holds_variants(spec.request.prompt) else ALL}

    def show_count(self, fields: Fields, count: int) -> Updates:
        """Show the row if the prompt holds variants, and announce that Compare starts `count`.

        A `count` of 0 means that the variants cannot be parsed.
        """
        return {
            self.announced: count,
            self._row: gr.Row(visible=holds_variants(str(fields.get("prompt") or ""))),
            self._note: _note(count),
            self._limit: gr.Number(visible=fields.get("variants") == SOME),
        }


def expands(fields: Fields) -> bool:
    """Return whether variants are to be expanded at all, rather than sent as they are written."""
    return bool(fields.get("variants", ALL) != OFF)


def limit(fields: Fields) -> int | None:
    """Return the number of variants to choose at random, None for all of them."""
    return int(fields.get("some") or 0) if fields.get("variants", ALL) == SOME else None


def press_again(count: int, estimate: str) -> str:
    """Return the HTML that asks for another click, before the line `estimate` (HTML too).

    The page may not have announced yet that Compare starts `count` runs.
    """
    html = Markup('<span class="lu-bad" role="alert">{} variants: press Compare again.</span> {}')
    return str(html.format(count, Markup(estimate)))


def _note(count: int) -> str:
    match count:
        case 0:
            return "<b>Variants</b>"
        case 1:
            return "<b>Variants</b> are drawn as they are written."
        case _:
            return f"<b>{count} variants</b>, each a run of its own"
