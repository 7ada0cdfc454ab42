"""Parse a TOML table into a dataclass, strictly.

The keys of a table are the fields of its dataclass, so a field that is added to `Model` can be
used in the catalogue at once. Errors for unknown, missing or wrongly typed keys name the place.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

Record = TypeVar("Record")

_NAMES: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    date: "a date",
}


class CatalogueError(ValueError):
    """An entry of the catalogue is invalid; `str(error)` says where and why."""


def parse_table(record: type[Record], table: Mapping[str, Any], where: str) -> Record:
    """Return `table` as a `record`.

    Raises:
        CatalogueError: a key is unknown, missing, or its value has the wrong type.
    """
    hints = typing.get_type_hints(record)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, record))}
    for key in table:
        if key not in fields:
            known = ", ".join(sorted(fields))
            raise CatalogueError(f"{where}: {key} is not a key. Known are {known}.")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in table:
            raise CatalogueError(f"{where}: {name} is missing.")
    values = {key: _value(hints[key], raw, f"{where}: {key}") for key, raw in table.items()}
    return record(**values)


def _value(kind: Any, raw: Any, where: str) -> Any:
    """Convert `raw` to `kind`; TOML's floats are parsed as Decimal, so that prices stay exact."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, raw, where)
    if origin is tuple:
        return _tuple(arguments, raw, where)
    if origin is frozenset:
        return frozenset(_value(arguments[0], item, where) for item in _list(raw, where))
    if origin is Mapping:
        return {
            str(key): _value(arguments[1], item, f"{where}.{key}")
            for key, item in _expect(dict, raw, where, "a table").items()
        }
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return parse_table(kind, _expect(dict, raw, where, "a table"), where)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if raw not in tuple(kind):
            raise CatalogueError(f"{where} is {raw!r}, but must be one of {', '.join(kind)}.")
        return kind(raw)
    return _plain(kind, raw, where)


def _plain(kind: Any, raw: Any, where: str) -> Any:
    number = isinstance(raw, int | Decimal) and not isinstance(raw, bool)
    if kind is Decimal and number:
        return Decimal(raw)
    if kind is float and number:
        return float(raw)
    # In Python a bool is an int and a datetime is a date; neither is accepted as one here.
    return _expect(kind, raw, where, _NAMES.get(kind, "a number"), exactly=True)


def _one_of(kinds: tuple[Any, ...], raw: Any, where: str) -> Any:
    problem: CatalogueError | None = None
    for kind in (kind for kind in kinds if kind is not types.NoneType):
        try:
            return _value(kind, raw, where)
        except CatalogueError as error:
            problem = error
    raise problem or CatalogueError(f"{where} cannot be read.")


def _tuple(kinds: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    items = _list(raw, where)
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], item, where) for item in items)
    if len(items) != len(kinds):
        raise CatalogueError(f"{where} must have {len(kinds)} parts.")
    return tuple(_value(kind, item, where) for kind, item in zip(kinds, items, strict=True))


def _list(raw: Any, where: str) -> list[Any]:
    return _expect(list, raw, where, "a list")


def _expect(kind: type, raw: Any, where: str, name: str, *, exactly: bool = False) -> Any:
    if type(raw) is kind if exactly else isinstance(raw, kind):
        return raw
    raise CatalogueError(f"{where} is {raw!r}, but must be {name}.")
