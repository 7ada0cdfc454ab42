"""The model picker: chips for the chosen models, and a panel of all models grouped by family."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import gradio as gr

from backends.base import Model, Readiness, Ready, State
from backends.registry import BACKENDS
from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from ui.compare_tab.cost_line import Unable
from ui.compare_tab.sections import Fields
from ui.page_files import script

UNCHECKED: Final = "unchecked"
"""The state of a model that was typed and that only its server can know."""
LATER: Final = "Whether the server has it shows when it draws."
_LOOKED_AT: Final = ("local", "miniature")
"""Backends whose models are files of this machine: that they are there was looked at."""


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
        added=[],
        costs={},
        adding=adding,
        backends=list(BACKENDS),
    )


def lines(lineup: Lineup) -> list[dict[str, Any]]:
    """Return the property `models`: what picker.js shows of each model of the catalogue."""
    return [_line(model, lineup.availability.ready(model)) for model in lineup.catalogue.models]


def added(lineup: Lineup, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the property `added`: the lines of those of `ids` that the catalogue does not list."""
    listed = {model.id for model in lineup.catalogue.models}
    return [_typed(lineup, id) for id in ids if id not in listed]


def backends(models: Sequence[str], fields: Fields) -> set[str]:
    """Return the backends of the chosen models, that of the second step among them."""
    second = str(fields.get("then_model") or "").strip()
    ids = [*models, second] if second else models
    return {id.partition("/")[0].partition("@")[0] for id in ids}


def able(lineup: Lineup, chosen: Sequence[str]) -> tuple[list[str], Unable]:
    """Return the ids of the chosen models that can draw, and what the others lack."""
    able, states, service = list[str](), Counter[Readiness](), ""
    for id in chosen:
        try:
            model = lineup.catalogue.find(id)
        except UnknownModel:
            states[Readiness.UNAVAILABLE] += 1
            continue
        state = lineup.availability.ready(model).state
        if state in (Readiness.READY, Readiness.NEEDS_DOWNLOAD):
            able.append(id)
            continue
        states[state] += 1
        if state is Readiness.NEEDS_KEY:
            service = service or model.service
    return able, Unable(states, service)


def _typed(lineup: Lineup, id: str) -> dict[str, Any]:
    try:
        model = lineup.catalogue.find(id)
    except UnknownModel as error:
        nobody = Model(id=id, label=id, family="", source="", provider="")
        return _line(nobody, Ready(Readiness.UNAVAILABLE, str(error)))
    line = _line(model, lineup.availability.ready(model))
    if line["state"] == Readiness.READY.value and model.backend not in _LOOKED_AT:
        return {**line, "state": UNCHECKED, "sentence": LATER}
    return line


def _line(model: Model, ready: Ready) -> dict[str, Any]:
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
        "local": model.backend in _LOOKED_AT,
        "takes": sorted(model.supports & {"controls", "image"}),
        "service": model.service,
        "state": ready.state.value,
        "sentence": ready.sentence,
        "note": model.note,
        "status": status.state.value,
        "status_words": "" if live else words,
    }
