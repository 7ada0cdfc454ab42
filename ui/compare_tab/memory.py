"""What the form held last, and named presets: kept in the visitor's browser by `memory.js`.

Pictures are not kept: the page cannot name a file of the server.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui.page_files import call, script

SETTLED: Final = call("memory.js", "settled")
"""Estimates the form once more where it was filled in from memory."""
TEMPLATE: Final = """<div class="lu-presets">
  <p class="lu-no-presets">A preset keeps the prompt, the models and the settings under a name, in
    this browser. The form itself is remembered without one.</p>
  <div class="lu-preset-list"></div>
  <label>Name <input type="text" maxlength="60" placeholder="for what the form holds now"></label>
  <button type="button" class="lu-filter" data-act="save">Save preset</button>
  <button type="button" class="lu-filter" data-act="reset">Reset the form</button>
</div>"""


class Memory:
    """Lays the presets out and remembers the values of `widgets`, which are plain JSON."""

    def __init__(self) -> None:
        self._presets = gr.HTML(
            html_template=TEMPLATE,
            js_on_load=script("memory.js", events=("use", "reset")),
            apply_default_css=False,
        )

    def follow(self, widgets: Mapping[str, Component]) -> None:
        """Keep every change of `widgets`, and fill them in when the page is opened."""
        names, boxes = list(widgets), list(widgets.values())
        defaults = [_default(box) for box in boxes]
        changes: Sequence[Any] = [box.change for box in boxes]  # pyright: ignore[reportAttributeAccessIssue]
        hidden: Mapping[str, Any] = {"show_progress": "hidden"}
        gr.on(changes, None, boxes, None, js=call("memory.js", "keep", names), **hidden)
        self._presets.use(None, None, boxes, js=call("memory.js", "use", names), **hidden)
        self._presets.reset(
            None, None, boxes, js=call("memory.js", "reset", names, defaults), **hidden
        )
        self._recall = (boxes, call("memory.js", "recall", names))

    def recall_on(self, page: gr.Blocks) -> None:
        """Fill the form in when `page` is opened."""
        boxes, js = self._recall
        page.load(None, None, boxes, js=js, show_progress="hidden")


def _default(box: Component) -> Any:
    return getattr(box, "value", None)
