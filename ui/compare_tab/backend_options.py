"""The section for each backend's own options, laid out from its `Options` dataclass."""

from collections.abc import Collection
from dataclasses import Field, fields, replace
from typing import Any, Final

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from backends.base import Request, Value
from backends.options import description
from backends.registry import BACKENDS, backend_class
from compare.lineup import Lineup
from compare.records import RunSpec
from ui.board.options import set_options
from ui.compare_tab.sections import MODEL_DEFAULT, Fields, Section, Updates
from ui.compare_tab.settings_line import NONE
from ui.page_files import script

NOTHING: Final = "The chosen models have no options of their own."


class BackendOptions(Section):
    """One group of widgets per `Options` class, named "backend.option".

    Backends that share an `Options` class share the group; its widgets are named "a+b.option".
    """

    def __init__(self) -> None:
        groups: dict[type, list[str]] = {}
        for name in BACKENDS:
            if options := backend_class(name).Options:
                groups.setdefault(options, []).append(name)
        self.widgets = {}
        gr.HTML(f'<p class="lu-no-options">{NOTHING}</p>', js_on_load=script("options.js"))
        for options, names in groups.items():
            of = [f"lu-of-{name}" for name in names]
            with gr.Column(elem_classes=["lu-options", *of]):
                gr.HTML(Markup("<h3>{}</h3>").format(backend_class(names[0]).label))
                with gr.Row(elem_classes="lu-option-row"):
                    for field in fields(options):
                        self.widgets[f"{'+'.join(names)}.{field.name}"] = _widget(field)

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with each backend's options; fields that are empty or None are left out."""
        options: dict[str, dict[str, Value]] = {}
        for name, value in fields.items():
            backends, dot, option = name.partition(".")
            if dot and value not in (None, ""):
                for backend in backends.split("+"):
                    options.setdefault(backend, {})[option] = value
        return replace(spec, request=replace(spec.request, options=options))

    def summary(self, fields: Fields, backends: Collection[str]) -> str:
        """Return how many options of `backends` differ from their defaults: "2 set"."""
        of_chosen = for_backends(self.apply(RunSpec(Request(prompt="")), fields), backends)
        count = sum(len(set_options(of_chosen, name)) for name in _one_each(backends))
        return f"{count} set" if count else NONE

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the options of `spec`; those that it does not set stay as they are."""
        updates: Updates = {}
        for name, widget in self.widgets.items():
            backends, _, option = name.partition(".")
            values = spec.request.options.get(backends.partition("+")[0], {})
            if option in values:
                updates[widget] = values[option]
        return updates


def for_backends(spec: RunSpec, backends: Collection[str]) -> RunSpec:
    """Return `spec` with the options of `backends` alone: those of no chosen model are not sent."""
    options = spec.request.options
    kept = {name: values for name, values in options.items() if name in backends}
    return replace(spec, request=replace(spec.request, options=kept))


def _one_each(backends: Collection[str]) -> list[str]:
    """Return one of those backends that share their options."""
    kinds = {backend_class(name).Options: name for name in backends if name in BACKENDS}
    return list(kinds.values())


def outside_folders(spec: RunSpec) -> str:
    """Return a sentence if an option of `spec` names a path or a Hub id, otherwise "".

    At a public address, visitors may only name files in the owner's folders.
    """
    second = spec.second_step
    for options in (spec.request.options, second.options if second else {}):
        for backend, values in options.items():
            declared = backend_class(backend).Options if backend in BACKENDS else None
            for field in fields(declared) if declared else ():
                value = str(values.get(field.name) or "")
                if description(field).files and ("/" in value or "\\" in value):
                    return (
                        f"At a public address only the files in the owner's folders can be used. "
                        f"Under {description(field).label}, write their names alone."
                    )
    return ""


def _widget(field: "Field[object]") -> Component:
    described, default = description(field), field.default
    shown: dict[str, Any] = {
        "label": described.label,
        "info": described.help or None,
        "elem_classes": ["lu-option", f"lu-option-{field.name}"],
    }
    if described.choices:
        pairs = [(str(choice) or MODEL_DEFAULT, choice) for choice in described.choices]
        return gr.Dropdown(pairs, value=default, **shown)  # pyright: ignore[reportArgumentType]
    if isinstance(default, bool):
        return gr.Checkbox(default, **shown)
    if isinstance(default, int | float):
        return gr.Number(default, **shown)
    return gr.Textbox(str(default or ""), **shown)
