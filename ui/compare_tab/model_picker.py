"""The model picker: chips for what is chosen, a panel of everything grouped by family."""

from collections.abc import Iterable, Mapping, Sequence

import gradio as gr

from backends.base import Model, Ready, State
from ui.theme import asset


def component(chosen: Sequence[str], *, adding: bool) -> gr.HTML:
    """Return a multiple choice of models; its value is the list of chosen ids.

    `adding` lets a person add any diffusers model by its Hub id, folder or file. A subclass would
    be neater, but Gradio writes a stub file beside each subclass of its components.
    """
    return gr.HTML(
        list(chosen),  # pyright: ignore[reportArgumentType]  # a gr.HTML takes any JSON
        html_template='<div class="lu-picker"></div>',
        js_on_load=asset("picker.js"),
        apply_default_css=False,
        models=[],
        costs={},
        adding=adding,
    )


def lines(models: Iterable[Model], ready: Mapping[str, Ready]) -> list[dict[str, str]]:
    """Return what picker.js shows of each model, grouped by family and who runs it."""
    return [_line(model, ready[model.id]) for model in models]


def _line(model: Model, ready: Ready) -> dict[str, str]:
    status = model.status
    words = status.state.value
    if status.date is not None:
        words += f" {status.date:%d %b %Y}"
    live = status.state is State.LIVE
    return {
        "id": model.id,
        "label": model.label,
        "family": model.family,
        "group": f"{model.family} · {model.provider}",
        "provider": model.provider,
        "state": ready.state.value,
        "sentence": ready.sentence,
        "note": model.note,
        "status": status.state.value,
        "status_words": "" if live else words,
    }
