"""The control picture: upload or draw it, choose a preprocessor, see the map before the run."""

import hashlib
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency

from backends.base import Control, Request, Value
from backends.errors import BackendError
from backends.local.control import PREPROCESSORS, Parameter, control_map
from compare.lineup import Lineup
from ui.context import Context
from ui.form import QUICK, BadField, control

MAP_SIDE = 512
# A map may take a while: it waits in Gradio's queue, and its place shows that it is coming.
SLOW: dict[str, Any] = {"queue": True, "show_progress": "minimal", "concurrency_limit": None}
FOLLOWED = "Models that take a control picture will follow this map."
NOTHING = "Upload a picture or draw one, and the map that the models will follow shows here."


class ControlPicture:
    """The widgets of the control picture; `widgets` has them by the form's names."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._picture = gr.State(None)
        self._parameters = gr.State({})
        self._first = gr.State({})  # the values that the parameters' widgets begin with
        with gr.Row(elem_classes="lu-control"):
            with gr.Column(scale=3), gr.Tabs():
                self._layout_sources()
            with gr.Column(scale=2):
                self._layout_treatment()
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

    def standing(self, lineup: Lineup, request: Request) -> dict[Block, Any]:
        """Show the control picture of a request; `preview_after` then makes its map."""
        if (asked := request.control) is None or not asked.image:
            return {}
        return {
            self._picture: str(lineup.store.given_path(asked.image)),
            self._preprocessor: asked.preprocessor,
            self._parameters: dict(asked.parameters),
            self._first: dict(asked.parameters),
            self._weight: asked.weight,
            self._start: asked.start,
            self._end: asked.end,
        }

    def _layout_sources(self) -> None:
        with gr.Tab("Upload"):
            self._upload = gr.File(
                label="Control picture", file_types=["image"], type="filepath", height=150
            )
        with gr.Tab("Draw"):
            self._pad = gr.Sketchpad(
                label="Dark strokes on white",
                type="filepath",
                canvas_size=(384, 384),
                brush=gr.Brush(default_size=5, colors=["#111111"], default_color="#111111"),
                height=430,
                layers=False,
                sources=(),
                buttons=[],
            )
            self._use = gr.Button("Use this drawing", size="sm")

    def _layout_treatment(self) -> None:
        choices = [(words.label, name) for name, words in PREPROCESSORS.items()]
        self._preprocessor = gr.Dropdown(choices, value="canny", label="Preprocessor")
        self._download = gr.Markdown(visible=False)
        self._own = gr.Column()
        self._weight = gr.Slider(0, 2, 1, step=0.05, label="Weight")
        self._start = gr.Slider(0, 1, 0, step=0.05, label="Start: fraction of the steps")
        self._end = gr.Slider(0, 1, 1, step=0.05, label="End: fraction of the steps")

    def _layout_map(self) -> None:
        self._map = gr.Image(label="Map", interactive=False, height=260, buttons=["fullscreen"])
        self._said = gr.Markdown(NOTHING, elem_classes="lu-hint")
        self._clear = gr.Button("Remove the control picture", size="sm", visible=False)

    def _wire(self) -> None:
        picture, parameters = self._picture, [self._parameters, self._first]
        with self._own:
            self._render_parameters()
        self.preview_after(self._upload.upload(_same, self._upload, picture, **QUICK))
        self.preview_after(self._upload.clear(_nothing, None, picture, **QUICK))
        treated = [picture, self._preprocessor, *parameters]
        self.preview_after(self._use.click(_drawn, self._pad, treated, **QUICK))
        self.preview_after(self._clear.click(_cleared, None, [picture, self._upload], **QUICK))
        self._preprocessor.change(_note, self._preprocessor, self._download, **QUICK)
        # Only by hand: a run that is shown again brings its parameters with it.
        self.preview_after(self._preprocessor.input(_none_yet, None, parameters, **QUICK))

    def preview_after(self, event: Dependency) -> None:
        """Make the map anew after `event`: the picture or its treatment, never its weight."""
        event.then(
            self._preview,
            inputs_kwargs={
                "control_picture": self._picture,
                "control_preprocessor": self._preprocessor,
                "control_parameters": self._parameters,
            },
            outputs=[self._map, self._said, self._clear],
            **{**QUICK, **SLOW},
        )

    async def _preview(self, **fields: Any) -> dict[Component, Any]:
        asked = control(fields)
        remove = gr.Button(visible=asked is not None)
        if asked is None:
            return {self._map: None, self._said: NOTHING, self._clear: remove}
        try:
            path = await _map(self._context, asked)
        except (BackendError, BadField) as error:
            return {self._map: None, self._said: str(error), self._clear: remove}
        return {self._map: str(path), self._said: FOLLOWED, self._clear: remove}

    def _render_parameters(self) -> None:
        """Draw the chosen preprocessor's own parameters, from its description."""

        @gr.render(inputs=[self._preprocessor, self._first])  # pyright: ignore[reportUntypedFunctionDecorator]
        def sliders(name: str, first: dict[str, Value]) -> None:
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


def map_folder(context: Context) -> Path:
    """Return the folder in which maps are kept for the page."""
    return context.settings.home.resolve() / "maps"


async def _map(context: Context, asked: Control) -> Path:
    """Return the file of the map, made once for each picture and treatment."""
    key = repr((asked.preprocessor, sorted(asked.parameters.items()))).encode() + asked.image
    path = map_folder(context) / f"{hashlib.sha256(key).hexdigest()}.png"
    if not path.exists():
        data = await control_map(asked, MAP_SIDE, MAP_SIDE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
