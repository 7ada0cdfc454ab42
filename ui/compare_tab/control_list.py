"""The control pictures: the first is there with the page, more of them when they are asked for.

What comes later is laid out anew whenever one of them is added, taken away, or gets another
preprocessor. So what they hold is kept in a state, where each change of a widget puts it. A page
hears of a state's change twice and would lay them out twice at once; a hidden button does it once.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block, BlockContext
from gradio.components import Component
from gradio.events import Dependency

from backends.base import Control, Request
from compare.lineup import Lineup
from ui.compare_tab.control_picture import UNTOUCHED, ControlPicture, Fields
from ui.compare_tab.form import QUICK
from ui.context import Context

MOST = 3
LAY_OUT = "() => document.querySelector('button.lu-lay-out')?.click()"

Shown = dict[Block, Any]


class ControlList:
    """Lays the fold-out out; `widgets` has its fields by name, `shown` is what may be changed."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.more = gr.State([])
        self._first = ControlPicture(context)
        self._lay_out = gr.Button("Lay out", visible="hidden", elem_classes="lu-lay-out")
        gr.render(inputs=self.more, triggers=[self._lay_out.click])(self._lay_more_out)
        self._add = gr.Button("Add a control", size="sm", elem_classes="lu-add")
        self.lay_out_after(self._add.click(_added, self.more, self.kept, **QUICK))
        self.widgets: dict[str, Component] = {**self._first.widgets, "more_controls": self.more}

    @property
    def shown(self) -> list[Block]:
        """What `standing` may change."""
        return [*self._first.shown, *self.kept]

    def standing(self, lineup: Lineup, request: Request) -> Shown:
        """Show the control pictures of a request; `preview_after` then makes their maps."""
        controls = [control for control in request.controls if control.image]
        if not controls:
            return {}
        first, *more = (_fields(lineup, control) for control in controls)
        shown = dict(zip(self.kept, _kept(more), strict=True))
        return {**self._first.standing(first), **shown}

    def preview_after(self, event: Dependency) -> None:
        """Make the first map after `event`, then lay the others out, which make theirs."""
        self.lay_out_after(self._first.preview_after(event))

    @property
    def kept(self) -> list[Block]:
        """The state of all but the first, and the button that adds another."""
        return [self.more, self._add]

    def _lay_more_out(self, more: list[Fields]) -> None:
        for number, fields in enumerate(more, start=2):
            Added(self, number, fields)

    def lay_out_after(self, event: Dependency) -> None:
        """Lay all but the first out anew after `event`."""
        event.then(None, js=LAY_OUT)


class Added(ControlPicture):
    """A control picture beside the first; its place in the list is found by its `key`."""

    LOOK = ("lu-control", "lu-added")
    REMOVE = "Remove this control"
    REMOVABLE = True

    def __init__(self, controls: ControlList, number: int, fields: Fields) -> None:
        self._controls = controls
        self._key: str = fields["key"]
        super().__init__(controls.context, number, fields)
        for widget in (self._weight, self._start, self._end):
            self._keep(widget.change, trigger_mode="always_last")
        self.preview_after(gr.on(fn=_laid_out, **QUICK))

    def preview_after(self, event: Dependency) -> Dependency:
        """Keep what it holds after `event`, and make the map anew."""
        self._keep(event.then)
        return super().preview_after(event)

    def _keep(self, when: Callable[..., Dependency], **how: Any) -> Dependency:
        more = self._controls.more
        inputs: dict[str, Component | BlockContext] = {**self.widgets, "more": more}
        return when(partial(_held, self._key), inputs_kwargs=inputs, outputs=more, **how, **QUICK)

    def _treated_by(self, event: Dependency) -> None:
        self._controls.lay_out_after(self._keep(event.then))

    def _lay_parameters_out(self) -> None:
        self._parameters_of(self._preprocessor.value, self._first.value)

    def _wire_removal(self) -> None:
        without = partial(_without, self._key)
        kept = self._remove.click(without, self._controls.more, self._controls.kept, **QUICK)
        self._controls.lay_out_after(kept)


def _kept(more: Sequence[Fields]) -> tuple[list[Fields], gr.Button]:
    """What the state holds and whether there is room for another: `Controls.kept`."""
    return list(more), gr.Button(visible=len(more) + 1 < MOST)


def _added(more: list[Fields]) -> tuple[list[Fields], gr.Button]:
    return _kept([*more, {**UNTOUCHED, "key": secrets.token_hex(4)}])


def _without(key: str, more: list[Fields]) -> tuple[list[Fields], gr.Button]:
    return _kept([each for each in more if each["key"] != key])


def _held(key: str, *, more: list[Fields], **fields: Any) -> list[Fields]:
    return [{**fields, "key": key} if each["key"] == key else each for each in more]


def _laid_out() -> None:
    """It may begin with a picture, of which there is a map to make."""


def _fields(lineup: Lineup, control: Control) -> Fields:
    return {
        "key": secrets.token_hex(4),
        "control_picture": str(lineup.store.input_path(control.image)),
        "control_preprocessor": control.preprocessor,
        "control_parameters": dict(control.parameters),
        "control_weight": control.weight,
        "control_start": control.start,
        "control_end": control.end,
    }
