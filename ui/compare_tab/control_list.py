"""The section for control pictures: the first is part of the page, more are added on request.

The additional ones are rendered anew whenever one of them is added, removed, or gets another
preprocessor. So their values are kept in a state, which every change of a widget updates. Gradio
reports a state's change to the page twice, which would render them twice at once; so a hidden
button, pressed by a script, triggers the rendering once.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block, BlockContext
from gradio.components import Component
from gradio.events import Dependency

from backends.base import Control
from compare.lineup import Lineup
from compare.records import RunSpec
from ui.compare_tab.control_picture import DEFAULTS, ControlPicture, parse_control
from ui.compare_tab.pictures import PictureFile
from ui.compare_tab.sections import Fields, Section, Updates
from ui.compare_tab.settings_line import NONE
from ui.context import Context
from ui.events import QUICK, STATE

MAX_CONTROLS = 3
RENDER = "() => document.querySelector('button.lu-lay-out')?.click()"


class ControlList(Section):
    """All control pictures of the form.

    `additional` is the state with the fields of all but the first. Each entry has a `key` that
    identifies it when the list has changed meanwhile.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.additional = gr.State([])
        self._first = ControlPicture(context)
        self._render = gr.Button("Lay out", visible="hidden", elem_classes="lu-lay-out")
        gr.render(inputs=self.additional, triggers=[self._render.click])(self._render_additional)
        self._add = gr.Button("Add a control", size="sm", elem_classes="lu-add")
        added = self._add.click(_with_another, self.additional, self.list_outputs, **STATE)
        self.render_after(added)
        self.widgets = {**self._first.widgets, "more_controls": self.additional}

    @property
    def outputs(self) -> Sequence[Block]:
        """The components of the first control picture, and those of `list_outputs`."""
        return [*self._first.outputs, *self.list_outputs]

    @property
    def list_outputs(self) -> Sequence[Block]:
        """The state of the additional control pictures, and the button that adds another."""
        return [self.additional, self._add]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with every control picture of the form.

        Raises:
            BadField: a weight, a start or an end is not a number.
        """
        additional: list[Fields] = fields.get("more_controls") or []
        parsed = (parse_control(each) for each in (fields, *additional))
        controls = tuple(control for control in parsed if control is not None)
        return replace(spec, request=replace(spec.request, controls=controls))

    def summary(self, fields: Fields) -> str:
        """Return what is set, for the line of settings: the preprocessor of each picture."""
        additional: list[Fields] = fields.get("more_controls") or []
        pictures = [each for each in (fields, *additional) if each.get("control_picture")]
        return " + ".join(str(each["control_preprocessor"]) for each in pictures) or NONE

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the control pictures of `spec`; `preview_after` then computes their maps."""
        controls = [control for control in spec.request.controls if control.image]
        if not controls:
            return {}
        first, *additional = (_field_values(lineup, control) for control in controls)
        listed = dict(zip(self.list_outputs, _list_updates(additional), strict=True))
        return {**self._first.show(first), **listed}

    def use(self, file: PictureFile) -> Updates:
        """Make a picture the first control picture; `preview_after` then computes its map."""
        return self._first.show({**DEFAULTS, "control_picture": file})

    def preview_after(self, event: Dependency) -> None:
        """Compute the first map after `event`, then render the others, which compute theirs."""
        self.render_after(self._first.preview_after(event))

    def render_after(self, event: Dependency) -> None:
        """Render all but the first anew after `event`."""
        event.then(None, js=RENDER)

    def _render_additional(self, additional: list[Fields]) -> None:
        for number, fields in enumerate(additional, start=2):
            AdditionalControl(self, number, fields)


class AdditionalControl(ControlPicture):
    """A control picture after the first; its `key` finds its entry in the list's state."""

    ELEM_CLASSES = ("lu-control", "lu-added")
    REMOVE_LABEL = "Remove this control"
    ALWAYS_REMOVABLE = True

    def __init__(self, controls: ControlList, number: int, fields: Fields) -> None:
        self._controls = controls
        self._key: str = fields["key"]
        super().__init__(controls.context, number, fields)
        for widget in (self._weight, self._start, self._end):
            self._store(widget.change, trigger_mode="always_last")
        self.preview_after(gr.on(fn=_rendered, **QUICK))

    def preview_after(self, event: Dependency) -> Dependency:
        """Store the fields after `event`, and compute the map."""
        self._store(event.then)
        return super().preview_after(event)

    def _store(self, listen: Callable[..., Dependency], **options: Any) -> Dependency:
        """Put the fields into the list's state at the event that `listen` registers for."""
        additional = self._controls.additional
        inputs: dict[str, Component | BlockContext] = {**self.widgets, "additional": additional}
        update = partial(_with_fields, self._key)
        return listen(update, inputs_kwargs=inputs, outputs=additional, **options, **STATE)

    def _after_preprocessor(self, event: Dependency) -> None:
        self._controls.render_after(self._store(event.then))

    def _layout_parameters(self) -> None:
        self._render_parameters(self._preprocessor.value, self._initial_parameters.value)

    def _wire_removal(self) -> None:
        controls = self._controls
        without = partial(_without, self._key)
        removed = self._remove.click(without, controls.additional, controls.list_outputs, **STATE)
        controls.render_after(removed)


def _list_updates(additional: Sequence[Fields]) -> tuple[list[Fields], gr.Button]:
    """Return updates for `ControlList.list_outputs`; the button hides when the list is full."""
    return list(additional), gr.Button(visible=len(additional) + 1 < MAX_CONTROLS)


def _with_another(additional: list[Fields]) -> tuple[list[Fields], gr.Button]:
    return _list_updates([*additional, {**DEFAULTS, "key": secrets.token_hex(4)}])


def _without(key: str, additional: list[Fields]) -> tuple[list[Fields], gr.Button]:
    return _list_updates([each for each in additional if each["key"] != key])


def _with_fields(key: str, *, additional: list[Fields], **fields: Any) -> list[Fields]:
    return [{**fields, "key": key} if each["key"] == key else each for each in additional]


def _rendered() -> None:
    """Do nothing; the event starts the preview of a control that is rendered with a picture."""


def _field_values(lineup: Lineup, control: Control) -> Fields:
    return {
        "key": secrets.token_hex(4),
        "control_picture": PictureFile(lineup.store.input_path(control.image), uploaded=False),
        "control_preprocessor": control.preprocessor,
        "control_parameters": dict(control.parameters),
        "control_weight": control.weight,
        "control_start": control.start,
        "control_end": control.end,
    }
