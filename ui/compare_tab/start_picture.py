"""The section for a start picture: models that take one start from it instead of from noise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.blocks import Block

from compare.lineup import Lineup
from compare.records import RunSpec
from ui.compare_tab.pictures import PictureFile, receive
from ui.compare_tab.sections import MODEL_DEFAULT, Fields, Section, Updates, parse_number
from ui.compare_tab.settings_line import NONE
from ui.context import Context
from ui.events import STATE
from ui.uploads import read

HINT = (
    "Models that take one draw this picture anew after the prompt: the more strength, the less is "
    "left of it. It is cropped to the size above. Models that cannot say so on their cards."
)


class StartPicture(Section):
    """An upload and the strength; the `PictureFile` is kept in a state."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = gr.State(None)
        with gr.Row(elem_classes="lu-start"):
            self._picture = gr.Image(
                label="Start picture",
                type="filepath",
                sources=["upload"],
                height=200,
                buttons=["fullscreen"],
                scale=2,
                min_width=220,
            )
            with gr.Column(scale=3, min_width=220):
                self._strength = gr.Textbox(
                    "",
                    label="Strength, from 0.01 to 1",
                    placeholder=MODEL_DEFAULT,
                    max_lines=1,
                    elem_classes="lu-field-strength",
                )
                gr.HTML(HINT, elem_classes="lu-sum", apply_default_css=False)
        # STATE leaves the uploaded file as it is, where Gradio's preprocessing would re-encode it.
        self._picture.upload(self._receive, self._picture, self._file, **STATE)
        self._picture.clear(_no_file, None, self._file, **STATE)
        self.widgets = {"start_picture": self._file, "start_strength": self._strength}

    @property
    def outputs(self) -> Sequence[Block]:
        """The picture that is shown, and the widgets."""
        return [self._picture, *self.widgets.values()]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with the picture's bytes and the strength, unchanged without a picture.

        Raises:
            BadField: the strength is not a number.
        """
        image = fields.get("start_picture")
        if image is None:
            return spec
        strength = parse_number(fields.get("start_strength"), "The strength", "strength")
        return replace(spec, request=replace(spec.request, image=image, strength=strength))

    def summary(self, fields: Fields) -> str:
        """Return what is set, for the line of settings."""
        if fields.get("start_picture") is None:
            return NONE
        strength = str(fields.get("start_strength") or "").strip()
        return f"a picture, strength {strength}" if strength else "a picture"

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the start picture of `spec`; change nothing if it has none. Blocks: it decodes."""
        image, strength = spec.request.image, spec.request.strength
        if not image:
            return {}
        return {
            self._file: PictureFile(lineup.store.input_path(image), uploaded=False),
            self._strength: "" if strength is None else f"{strength:g}",
            self._picture: _decode(image),
        }

    def show(self, file: PictureFile) -> Updates:
        """Show a picture as the start picture. Blocks: it decodes."""
        return {self._file: file, self._picture: _decode(read(file.path))}

    def _receive(self, file: object, request: gr.Request) -> PictureFile | None:
        return receive(self._context, file, request)


def _no_file() -> None:
    return None


def _decode(image: bytes) -> Any:
    """Return the picture as Gradio shows it, None if the bytes are no picture."""
    from backends.errors import BadInput
    from backends.images import decoding

    try:
        return decoding.read_image(image, decoding.START)
    except BadInput:
        return None
