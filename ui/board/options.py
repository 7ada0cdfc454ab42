"""Which of a run's options differ from their defaults, as text for its header and its cards."""

from collections.abc import Mapping
from dataclasses import fields

from backends.base import Value
from backends.options import description
from backends.registry import BACKENDS, backend_class
from compare.records import RunSpec

_AS_THEY_ARE = ("loras", "embeddings")
"""Options whose value says by itself what it is: "watercolour:0.8"."""


def set_options(spec: RunSpec, backend: str, *, second: bool = False) -> list[str]:
    """Return the options of `backend` that differ from their defaults, such as "quality high".

    `second` asks for those of the second step.
    """
    request = spec.second_request() if second and spec.second_step else spec.request
    declared = backend_class(backend).Options if backend in BACKENDS else None
    values = request.options.get(backend, {})
    found: list[str] = []
    for field in fields(declared) if declared else ():
        value = values.get(field.name)
        if value not in (None, "", field.default):
            found.append(_format(field.name, description(field).label, value))
    return found


def format_options(spec: RunSpec, backends: Mapping[str, str]) -> str:
    """Return the set options of a run's backends (label by name) for its header.

    Of several backends with options each is named before its own.
    """
    kinds: dict[object, str] = {}
    for name in backends:
        kinds.setdefault(backend_class(name).Options if name in BACKENDS else name, name)
    found = {name: set_options(spec, name) for name in kinds.values()}
    set_ones = {name: options for name, options in found.items() if options}
    if len(set_ones) == 1:
        return " · ".join(next(iter(set_ones.values())))
    return " · ".join(f"{backends[name]}: {', '.join(each)}" for name, each in set_ones.items())


def _format(name: str, label: str, value: Value) -> str:
    if name in _AS_THEY_ARE:
        return str(value)
    if isinstance(value, bool):
        return label.lower() if value else f"no {label.lower()}"
    return f"{label.lower()} {value}"
