"""The section for a start picture: models that take one start from it instead of from noise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from compare.lineup import Lineup
from compare.records import RunSpec
from ui.compare_tab.sections import MODEL_DEFAULT, Fields, Section, Updates, parse_number
from ui.events import PLAIN, QUICK

HINT = (
    "Models that take one draw this picture anew after the prompt: the more strength, the less is "
    "left of it. It is cropped to the size above. Models that cannot say so on their cards."
)


class StartPicture(Section):
    """An upload and the strength; the path of the uploaded file is kept in a state."""

    def __init__(self) -> None:
        self._path = gr.State(None)
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
                    "", label="Strength, from 0.01 to 1", placeholder=MODEL_DEFAULT, max_lines=1
                )
                gr.HTML(HINT, elem_classes="lu-sum", apply_default_css=False)
        # PLAIN leaves the uploaded file as it is, where Gradio's preprocessing would re-encode it.
        self._picture.upload(_uploaded_path, self._picture, self._path, **PLAIN)
        self._picture.clear(_no_path, None, self._path, **QUICK)
        self.widgets = {"start_picture": self._path, "start_strength": self._strength}

    @property
    def outputs(self) -> Sequence[Block]:
        """The picture that is shown, and the widgets."""
        return [self._picture, *self.widgets.values()]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with the picture's bytes and the strength, unchanged without a picture.

        Raises:
            BadField: the strength is not a number.
        """
        path = fields.get("start_picture")
        if not path:
            return spec
        strength = parse_number(fields.get("start_strength"), "The strength")
        image = Path(str(path)).read_bytes()
        return replace(spec, request=replace(spec.request, image=image, strength=strength))

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the start picture of `spec`; change nothing if it has none."""
        image, strength = spec.request.image, spec.request.strength
        if not image:
            return {}
        return {
            self._path: str(lineup.store.input_path(image)),
            self._strength: "" if strength is None else f"{strength:g}",
            self._picture: _decode(image),
        }


def _uploaded_path(file: Mapping[str, Any] | None) -> str | None:
    return file["path"] if file else None


def _no_path() -> None:
    return None


def _decode(image: bytes) -> Any:
    """Return the picture as Gradio shows it, None if the bytes are no picture."""
    from backends.errors import BadInput
    from backends.images import decoding

    try:
        return decoding.read_image(image, decoding.START)
    except BadInput:
        return None
