"""Each backend's own options, drawn from its `Options` dataclass: spelled once, there."""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from backends.base import Request
from backends.options import description
from backends.registry import BACKENDS, backend_class
from compare.records import RunSpec


def build() -> dict[str, Component]:
    """Lay out one group per kind of options; return the widgets as "backend.option".

    Backends that share their options share the group: the names are joined, "a+b.option".
    """
    groups: dict[type, list[str]] = {}
    for name in BACKENDS:
        if spec := backend_class(name).Options:
            groups.setdefault(spec, []).append(name)
    widgets: dict[str, Component] = {}
    for spec, names in groups.items():
        gr.Markdown(f"**{backend_class(names[0]).label}**")
        with gr.Row():
            widgets |= {f"{'+'.join(names)}.{field.name}": _widget(field) for field in fields(spec)}
    return widgets


def standing(widgets: Mapping[str, Component], request: Request) -> dict[Block, Any]:
    """Show the options that a request was made with."""
    found: dict[Block, Any] = {}
    for name, widget in widgets.items():
        backends, _, option = name.partition(".")
        values = request.options.get(backends.partition("+")[0], {})
        if option in values:
            found[widget] = values[option]
    return found


def beyond_the_folders(spec: RunSpec) -> str:
    """Say which option of `spec` names a file or a Hub id, "" where none does.

    At a public address these are not a visitor's to name; the files of the owner's folders are.
    """
    then = spec.second_step
    steps = (spec.request.options, then.options if then else {})
    for backend, values in (item for options in steps for item in options.items()):
        kind = backend_class(backend).Options if backend in BACKENDS else None
        for field in fields(kind) if kind else ():
            value = str(values.get(field.name) or "")
            if description(field).files and ("/" in value or "\\" in value):
                return (
                    f"At a public address only the files in the owner's folders can be used. Under "
                    f"{description(field).label}, write their names alone."
                )
    return ""


def _widget(field: "Field[object]") -> Component:
    described, default = description(field), field.default
    label, info = described.label, described.help or None
    if described.choices:
        pairs = [(str(choice) or "model's own", choice) for choice in described.choices]
        return gr.Dropdown(pairs, value=default, label=label, info=info)  # pyright: ignore[reportArgumentType]
    if isinstance(default, bool):
        return gr.Checkbox(default, label=label, info=info)
    if isinstance(default, int | float):
        return gr.Number(default, label=label, info=info)
    return gr.Textbox(str(default or ""), label=label, info=info)
