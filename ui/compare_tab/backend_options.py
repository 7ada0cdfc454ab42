"""The section for each backend's own options, laid out from its `Options` dataclass."""

from dataclasses import Field, fields, replace

import gradio as gr
from gradio.components import Component

from backends.base import Value
from backends.options import description
from backends.registry import BACKENDS, backend_class
from compare.lineup import Lineup
from compare.records import RunSpec
from ui.compare_tab.sections import MODEL_DEFAULT, Fields, Section, Updates


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
        for options, names in groups.items():
            gr.Markdown(f"**{backend_class(names[0]).label}**")
            with gr.Row():
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

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the options of `spec`; those that it does not set stay as they are."""
        updates: Updates = {}
        for name, widget in self.widgets.items():
            backends, _, option = name.partition(".")
            values = spec.request.options.get(backends.partition("+")[0], {})
            if option in values:
                updates[widget] = values[option]
        return updates


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
    label, info = described.label, described.help or None
    if described.choices:
        pairs = [(str(choice) or MODEL_DEFAULT, choice) for choice in described.choices]
        return gr.Dropdown(pairs, value=default, label=label, info=info)  # pyright: ignore[reportArgumentType]
    if isinstance(default, bool):
        return gr.Checkbox(default, label=label, info=info)
    if isinstance(default, int | float):
        return gr.Number(default, label=label, info=info)
    return gr.Textbox(str(default or ""), label=label, info=info)
