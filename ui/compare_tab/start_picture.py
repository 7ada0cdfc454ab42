"""The start picture: models that take one begin with it instead of with noise."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from backends.base import Request
from compare.lineup import Lineup
from ui.compare_tab import form

HINT = (
    "Models that take one draw this picture anew after the prompt: the more strength, the less is "
    "left of it. It is cropped to the size above. Models that cannot say so on their cards."
)


class StartPicture:
    """Lays the fold-out out; `widgets` has its fields by name, `shown` is what may be changed."""

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
                    "", label="Strength, from 0.01 to 1", placeholder=form.OWN, max_lines=1
                )
                gr.HTML(HINT, elem_classes="lu-sum", apply_default_css=False)
        # Plain: the file stays as it was given, where Gradio would encode it anew.
        self._picture.upload(_path, self._picture, self._path, **form.PLAIN)
        self._picture.clear(_nothing, None, self._path, **form.QUICK)
        self.widgets: dict[str, Component] = {
            "start_picture": self._path,
            "start_strength": self._strength,
        }

    @property
    def shown(self) -> list[Block]:
        """What `standing` may change."""
        return [self._picture, *self.widgets.values()]

    def standing(self, lineup: Lineup, request: Request) -> dict[Block, Any]:
        """Show the start picture of a request."""
        if not request.image:
            return {}
        strength = "" if request.strength is None else f"{request.strength:g}"
        path = str(lineup.store.input_path(request.image))
        return {self._path: path, self._strength: strength, self._picture: _opened(request.image)}


def _path(given: Mapping[str, Any] | None) -> str | None:
    return given["path"] if given else None


def _nothing() -> None:
    return None


def _opened(image: bytes) -> Any:
    """The picture as Gradio shows it; None for what is none."""
    from backends.errors import BadInput
    from backends.images import decoding

    try:
        return decoding.read_image(image, decoding.START)
    except BadInput:
        return None
