"""A control picture: upload or draw it, choose a preprocessor, see the map before the run."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from backends.base import Control, Value
from backends.errors import BackendError
from backends.local.control.maps import PREPROCESSORS, Parameter
from ui.compare_tab.pictures import PictureFile, receive, with_bytes
from ui.compare_tab.sections import BadField, Fields, Updates, Widgets, parse_number
from ui.context import Context
from ui.events import QUICK, SLOW, STATE

MAP_HINT = "Models that take a control picture will follow this map."
EMPTY_HINT = "Upload a picture or draw one, and the map that the models will follow shows here."
DEFAULTS: Fields = MappingProxyType(
    {
        "control_picture": None,
        "control_preprocessor": "canny",
        "control_parameters": {},
        "control_weight": 1,
        "control_start": 0,
        "control_end": 1,
    }
)
"""The fields of a control picture that no one has touched yet."""


class ControlPicture:
    """The widgets of one control picture; `widgets` maps the form's field names to them.

    `fields` are their initial values; `number` counts the control pictures of the page from 1.
    Subclasses set `ELEM_CLASSES`, the CSS classes of the row, `REMOVE_LABEL`, the text of the
    button that removes the picture, and `ALWAYS_REMOVABLE`, which shows that button even without
    a picture.
    """

    ELEM_CLASSES: Sequence[str] = ("lu-control",)
    REMOVE_LABEL = "Remove the control picture"
    ALWAYS_REMOVABLE = False

    def __init__(self, context: Context, number: int = 1, fields: Fields = DEFAULTS) -> None:
        self._context = context
        self._number = number
        fields = {**DEFAULTS, **fields}
        self._picture = gr.State(fields["control_picture"])
        self._parameters = gr.State(fields["control_parameters"])
        # The initial values of the parameters' widgets, which are rendered later.
        self._initial_parameters = gr.State(fields["control_parameters"])
        with gr.Row(elem_classes=list(self.ELEM_CLASSES)):
            # The tabs have ids, so that the selection survives when they are rendered anew.
            with gr.Column(scale=3), gr.Tabs(selected="upload"):
                self._layout_sources(fields)
            with gr.Column(scale=2):
                self._layout_settings(fields)
            with gr.Column(scale=2):
                self._layout_map()
        self.widgets: Widgets = {
            "control_picture": self._picture,
            "control_preprocessor": self._preprocessor,
            "control_parameters": self._parameters,
            "control_weight": self._weight,
            "control_start": self._start,
            "control_end": self._end,
        }
        self._wire()

    @property
    def outputs(self) -> Sequence[Block]:
        """The components that `show` changes."""
        return [self._initial_parameters, *self.widgets.values()]

    def show(self, fields: Fields) -> Updates:
        """Show the values of `fields`; `preview_after` then computes the map."""
        updates: Updates = {self.widgets[name]: fields[name] for name in self.widgets}
        return {**updates, self._initial_parameters: fields["control_parameters"]}

    def preview_after(self, event: Dependency) -> Dependency:
        """Compute the map after `event`, which changed the picture, preprocessor or parameters."""
        return event.then(
            self._preview,
            inputs_kwargs={
                "control_picture": self._picture,
                "control_preprocessor": self._preprocessor,
                "control_parameters": self._parameters,
            },
            outputs=[self._map, self._message, self._remove],
            **SLOW,
        )

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
            self._drawing_area = gr.Column()

    def _layout_settings(self, fields: Fields) -> None:
        choices = [(preprocessor.label, name) for name, preprocessor in PREPROCESSORS.items()]
        chosen = fields["control_preprocessor"]
        self._preprocessor = gr.Dropdown(
            choices, value=chosen, label="Preprocessor", interactive=True
        )
        self._download = _download_note(chosen)
        self._parameter_area = gr.Column()
        self._weight = _slider(2, fields["control_weight"], "Weight")
        self._start = _slider(1, fields["control_start"], "Start: fraction of the steps")
        self._end = _slider(1, fields["control_end"], "End: fraction of the steps")

    def _layout_map(self) -> None:
        self._map = gr.Image(label="Map", interactive=False, height=260, buttons=["fullscreen"])
        self._message = gr.Markdown(EMPTY_HINT, elem_classes="lu-hint")
        self._remove = gr.Button(self.REMOVE_LABEL, size="sm", visible=self.ALWAYS_REMOVABLE)

    def _wire(self) -> None:
        picture, parameters = self._picture, [self._parameters, self._initial_parameters]
        with self._parameter_area:
            self._layout_parameters()
        # STATE takes values as they are: Gradio's preprocessing opens whatever path the page names.
        self.preview_after(self._upload.upload(self._receive, self._upload, picture, **STATE))
        self.preview_after(self._upload.clear(_no_file, None, picture, **STATE))
        inputs_of_map = [picture, self._preprocessor, *parameters]
        with self._drawing_area:
            self._layout_pad(inputs_of_map)
        self._preprocessor.change(_download_note, self._preprocessor, self._download, **QUICK)
        # `input` fires for a user's choice only: a restored run brings its parameters with it.
        chosen = self._preprocessor.input(_default_parameters, None, parameters, **QUICK)
        self._after_preprocessor(chosen)
        self._wire_removal()

    def _layout_pad(self, inputs_of_map: Sequence[Block]) -> None:
        """Render the pad when the panel is opened: its code is a third of the page's weight."""
        prepare = gr.Button("Prepare the pad", visible="hidden", elem_classes="lu-prepare")
        gr.render(triggers=[prepare.click])(partial(self._render_pad, inputs_of_map))

    def _render_pad(self, inputs_of_map: Sequence[Block]) -> None:
        pad = gr.Sketchpad(
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
        use = gr.Button("Use this drawing", size="sm")
        self._after_preprocessor(use.click(self._use_drawing, pad, inputs_of_map, **STATE))

    def _wire_removal(self) -> None:
        emptied = [self._picture, self._upload]
        self.preview_after(self._remove.click(_no_files, None, emptied, **STATE))

    def _after_preprocessor(self, event: Dependency) -> None:
        """Update what depends on the preprocessor after `event`, which chose another."""
        self.preview_after(event)

    async def _preview(self, **fields: Any) -> Updates:
        given = fields.get("control_picture") is not None
        remove = gr.Button(visible=self.ALWAYS_REMOVABLE or given)
        try:
            control = parse_control(await with_bytes(self._context, fields))
            if control is None:
                return {self._map: None, self._message: EMPTY_HINT, self._remove: remove}
            path = await self._context.maps.file(control)
        except (BackendError, BadField) as error:
            return {self._map: None, self._message: str(error), self._remove: remove}
        return {self._map: str(path), self._message: MAP_HINT, self._remove: remove}

    def _receive(self, file: object, request: gr.Request) -> PictureFile | None:
        return receive(self._context, file, request)

    def _use_drawing(
        self, sketch: object, request: gr.Request
    ) -> tuple[PictureFile | None, str, *tuple[dict[str, Value], ...]]:
        """Take the drawing as the picture, with "invert" as preprocessor.

        The strokes of a drawing are its edges already; they are only dark on white.
        """
        drawn = sketch.get("composite") if isinstance(sketch, Mapping) else None
        return receive(self._context, drawn, request), "invert", *_default_parameters()

    def _layout_parameters(self) -> None:
        """Render the parameters of the chosen preprocessor, again whenever another is chosen."""
        render = gr.render(inputs=[self._preprocessor, self._initial_parameters])
        render(self._render_parameters)

    def _render_parameters(self, preprocessor: str, initial: Mapping[str, Value]) -> None:
        """Lay out a preprocessor's own parameters from its description, with `initial` values."""
        specs = PREPROCESSORS[preprocessor].parameters
        widgets = {spec.name: _parameter_widget(spec, initial.get(spec.name)) for spec in specs}
        for widget in widgets.values():
            changed = widget.release if isinstance(widget, gr.Slider) else widget.input
            inputs = dict[str, Block](widgets)
            stored = changed(_as_mapping, inputs_kwargs=inputs, outputs=self._parameters, **QUICK)
            self.preview_after(stored)


def parse_control(fields: Fields) -> Control | None:
    """Return the control picture that `fields` describe, None if they have no picture.

    The picture is in `fields` as bytes (`pictures.with_bytes`).

    Raises:
        BadField: the weight, the start or the end is not a number.
    """
    image = fields.get("control_picture")
    if image is None:
        return None
    return Control(
        image=image,
        preprocessor=str(fields.get("control_preprocessor") or "canny"),
        parameters=dict(fields.get("control_parameters") or {}),
        weight=_number_or(1.0, fields.get("control_weight"), "The control's weight"),
        start=_number_or(0.0, fields.get("control_start"), "The control's start"),
        end=_number_or(1.0, fields.get("control_end"), "The control's end"),
    )


def _number_or(default: float, value: object, name: str) -> float:
    number = parse_number(value, name, "controls")
    return default if number is None else number


def _download_note(preprocessor: str) -> gr.Markdown:
    download = PREPROCESSORS[preprocessor].download
    return gr.Markdown(f"Downloads first: {download}", visible=bool(download))


def _parameter_widget(spec: Parameter, value: Value | None) -> gr.Slider | gr.Checkbox:
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


def _slider(maximum: float, value: float, label: str) -> gr.Slider:
    return gr.Slider(0, maximum, value, step=0.05, label=label, interactive=True)


def _uploaded(picture: PictureFile | None) -> str | None:
    """Return the path of `picture` if its file name is worth showing.

    The picture of a stored run is named by a hash instead.
    """
    return str(picture.path) if picture is not None and picture.uploaded else None


def _no_file() -> None:
    return None


def _no_files() -> tuple[None, None]:
    return None, None


def _default_parameters() -> tuple[dict[str, Value], dict[str, Value]]:
    return {}, {}


def _as_mapping(**values: Value) -> dict[str, Value]:
    return values
