"""The model picker: chips for the chosen models, and a panel of all models grouped by family."""

from collections.abc import Sequence

import gradio as gr

from backends.base import Model, Ready, State
from compare.lineup import Lineup
from ui.page_files import script


def component(chosen: Sequence[str], *, adding: bool) -> gr.HTML:
    """Return a multiple choice of models; its value is the list of chosen ids.

    `adding` lets the user add any diffusers model by its Hub id, folder or file. This is no
    subclass of `gr.HTML` because Gradio writes a stub file beside each subclass of its components.
    """
    return gr.HTML(
        list(chosen),  # pyright: ignore[reportArgumentType]  # a gr.HTML takes any JSON
        html_template='<div class="lu-picker"></div>',
        js_on_load=script("picker.js", events=("change",)),
        apply_default_css=False,
        models=[],
        costs={},
        adding=adding,
    )


def lines(lineup: Lineup) -> list[dict[str, str]]:
    """Return the property `models`: what picker.js shows of each model of the catalogue."""
    return [_line(model, lineup.availability.ready(model)) for model in lineup.catalogue.models]


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
