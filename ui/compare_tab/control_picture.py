"""A control picture: upload or draw it, choose a preprocessor, see the map before the run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency
from gradio.utils import get_upload_folder

from backends.base import Control, Value
from backends.errors import BackendError
from backends.local.control.maps import PREPROCESSORS, Parameter, control_map
from ui.compare_tab.form import BadField, control
from ui.context import Context, map_folder
from ui.events import QUICK, SLOW

MAP_SIDE = 512
FOLLOWED = "Models that take a control picture will follow this map."
Fields = Mapping[str, Any]
UNTOUCHED: Fields = MappingProxyType(
    {
        "control_picture": None,
        "control_preprocessor": "canny",
        "control_parameters": {},
        "control_weight": 1,
        "control_start": 0,
        "control_end": 1,
    }
)
NOTHING = "Upload a picture or draw one, and the map that the models will follow shows here."


class ControlPicture:
    """The widgets of a control picture; `widgets` has them by the form's names.

    It begins with what `fields` holds under those names. `LOOK` are the classes of its row;
    `REMOVE` stands on the button that takes it away, `REMOVABLE` says whether that is of use
    without a picture.
    """

    LOOK = ("lu-control",)
    REMOVE = "Remove the control picture"
    REMOVABLE = False

    def __init__(self, context: Context, number: int = 1, fields: Fields = UNTOUCHED) -> None:
        self._context = context
        self._number = number
        fields = {**UNTOUCHED, **fields}
        self._picture = gr.State(fields["control_picture"])
        self._parameters = gr.State(fields["control_parameters"])
        # The values that the parameters' widgets begin with.
        self._first = gr.State(fields["control_parameters"])
        with gr.Row(elem_classes=list(self.LOOK)):
            # Named, so that a tab stays chosen when all this is laid out anew.
            with gr.Column(scale=3), gr.Tabs(selected="upload"):
                self._layout_sources(fields)
            with gr.Column(scale=2):
                self._layout_treatment(fields)
            with gr.Column(scale=2):
                self._layout_map()
        self.widgets: dict[str, Component] = {
            "control_picture": self._picture,
            "control_preprocessor": self._preprocessor,
            "control_parameters": self._parameters,
            "control_weight": self._weight,
            "control_start": self._start,
            "control_end": self._end,
        }
        self._wire()

    @property
    def shown(self) -> list[Block]:
        """What `standing` may change."""
        return [self._first, *self.widgets.values()]

    def standing(self, fields: Fields) -> dict[Block, Any]:
        """Show what `fields` holds; `preview_after` then makes its map."""
        shown: dict[Block, Any] = {self.widgets[name]: fields[name] for name in self.widgets}
        return {**shown, self._first: fields["control_parameters"]}

    def _layout_sources(self, fields: Fields) -> None:
        with gr.Tab("Upload", id="upload"):
            self._upload = gr.File(
                label="Control picture" if self._number == 1 else f"Control picture {self._number}",
                file_types=["image"],
                type="filepath",
                height=150,
                interactive=True,
                value=_uploaded(fields["control_picture"]),
            )
        with gr.Tab("Draw", id="draw"):
            self._pad = gr.Sketchpad(
                label="Dark strokes on white",
                type="filepath",
                canvas_size=(384, 384),
                brush=gr.Brush(default_size=5, colors=["#111111"], default_color="#111111"),
                height=430,
                layers=False,
                sources=(),
                buttons=[],
                interactive=True,
            )
            self._use = gr.Button("Use this drawing", size="sm")

    def _layout_treatment(self, fields: Fields) -> None:
        choices = [(words.label, name) for name, words in PREPROCESSORS.items()]
        chosen = fields["control_preprocessor"]
        self._preprocessor = gr.Dropdown(
            choices, value=chosen, label="Preprocessor", interactive=True
        )
        self._download = _note(chosen)
        self._own = gr.Column()
        self._weight = _slider(2, fields["control_weight"], "Weight")
        self._start = _slider(1, fields["control_start"], "Start: fraction of the steps")
        self._end = _slider(1, fields["control_end"], "End: fraction of the steps")

    def _layout_map(self) -> None:
        self._map = gr.Image(label="Map", interactive=False, height=260, buttons=["fullscreen"])
        self._said = gr.Markdown(NOTHING, elem_classes="lu-hint")
        self._remove = gr.Button(self.REMOVE, size="sm", visible=self.REMOVABLE)

    def _wire(self) -> None:
        picture, parameters = self._picture, [self._parameters, self._first]
        with self._own:
            self._lay_parameters_out()
        self.preview_after(self._upload.upload(_same, self._upload, picture, **QUICK))
        self.preview_after(self._upload.clear(_nothing, None, picture, **QUICK))
        treated = [picture, self._preprocessor, *parameters]
        self._treated_by(self._use.click(_drawn, self._pad, treated, **QUICK))
        self._preprocessor.change(_note, self._preprocessor, self._download, **QUICK)
        # Only by hand: a run that is shown again brings its parameters with it.
        self._treated_by(self._preprocessor.input(_none_yet, None, parameters, **QUICK))
        self._wire_removal()

    def _wire_removal(self) -> None:
        emptied = [self._picture, self._upload]
        self.preview_after(self._remove.click(_cleared, None, emptied, **QUICK))

    def _treated_by(self, event: Dependency) -> None:
        """See to what follows from another preprocessor."""
        self.preview_after(event)

    def preview_after(self, event: Dependency) -> Dependency:
        """Make the map anew after `event`: the picture or its treatment, never its weight."""
        return event.then(
            self._preview,
            inputs_kwargs={
                "control_picture": self._picture,
                "control_preprocessor": self._preprocessor,
                "control_parameters": self._parameters,
            },
            outputs=[self._map, self._said, self._remove],
            **SLOW,
        )

    async def _preview(self, **fields: Any) -> dict[Component, Any]:
        asked = control(fields)
        remove = gr.Button(visible=self.REMOVABLE or asked is not None)
        if asked is None:
            return {self._map: None, self._said: NOTHING, self._remove: remove}
        try:
            path = await _map(self._context, asked)
        except (BackendError, BadField) as error:
            return {self._map: None, self._said: str(error), self._remove: remove}
        return {self._map: str(path), self._said: FOLLOWED, self._remove: remove}

    def _lay_parameters_out(self) -> None:
        """Show the parameters of whichever preprocessor is chosen."""
        gr.render(inputs=[self._preprocessor, self._first])(self._parameters_of)

    def _parameters_of(self, name: str, first: Mapping[str, Value]) -> None:
        """Draw a preprocessor's own parameters, from its description; `first` has their values."""
        specs = PREPROCESSORS[name].parameters
        widgets = {spec.name: _widget(spec, first.get(spec.name)) for spec in specs}
        for widget in widgets.values():
            moved = widget.release if isinstance(widget, gr.Slider) else widget.input
            inputs = dict[str, Block](widgets)
            kept = moved(_together, inputs_kwargs=inputs, outputs=self._parameters, **QUICK)
            self.preview_after(kept)


def _note(name: str) -> gr.Markdown:
    needs = PREPROCESSORS[name].download
    return gr.Markdown(f"Downloads first: {needs}", visible=bool(needs))


def _widget(spec: Parameter, value: Value | None) -> gr.Slider | gr.Checkbox:
    value = spec.default if value is None else value
    if isinstance(spec.default, bool):
        return gr.Checkbox(bool(value), label=spec.label, interactive=True)
    return gr.Slider(
        spec.least or 0,
        spec.most or 100,
        float(value),
        step=1 if isinstance(spec.default, int) else 0.1,
        label=spec.label,
        interactive=True,
    )


def _slider(most: float, value: float, label: str) -> gr.Slider:
    return gr.Slider(0, most, value, step=0.05, label=label, interactive=True)


def _uploaded(path: str | None) -> str | None:
    """What came with this visit has a name of its own to show; what a run was given has none."""
    return path if path and Path(path).is_relative_to(get_upload_folder()) else None


def _same(path: str | None) -> str | None:
    return path


def _nothing() -> None:
    return None


def _cleared() -> tuple[None, None]:
    return None, None


def _none_yet() -> tuple[dict[str, Value], dict[str, Value]]:
    return {}, {}


def _together(**values: Value) -> dict[str, Value]:
    return values


def _drawn(sketch: dict[str, Any] | None) -> tuple[str | None, str, *tuple[dict[str, Value], ...]]:
    """A drawing's strokes are its edges already; they only stand dark on white."""
    return sketch.get("composite") if sketch else None, "invert", *_none_yet()


async def _map(context: Context, asked: Control) -> Path:
    """Return the file of the map, made once for each picture and treatment."""
    key = repr((asked.preprocessor, sorted(asked.parameters.items()))).encode() + asked.image
    path = map_folder(context) / f"{hashlib.sha256(key).hexdigest()}.png"
    if not path.exists():
        data = await control_map(asked, MAP_SIDE, MAP_SIDE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
