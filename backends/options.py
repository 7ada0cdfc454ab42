"""The options of one backend: declare them in an `Options` dataclass, and parse a request's.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        quality: str = option("low", label="Quality", choices=("low", "high"))

The form has one widget for each field; `description` returns its label, help and choices.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from backends.base import Applied, Value
from backends.errors import BadInput

Options = TypeVar("Options")
Default = TypeVar("Default", bound=Value)
_KEY: Final = "option"


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """The presentation of an option in a form.

    `choices` lists all its values, empty for any value of its type. `files` is True if the value
    may name files or folders on this machine, which visitors of a public address must not do.
    `own_key` is True if it says which account pays: it is for those who use a key of their own.
    """

    label: str
    help: str = ""
    choices: tuple[Value, ...] = ()
    files: bool = False
    own_key: bool = False


def option(
    default: Default,
    *,
    label: str,
    help: str = "",
    choices: tuple[Value, ...] = (),
    files: bool = False,
    own_key: bool = False,
) -> Default:
    """Declare an option as a field of an `Options` dataclass.

    The declared return type is the field's own, as in `dataclasses.field`.
    """
    described = Description(label=label, help=help, choices=choices, files=files, own_key=own_key)
    field: Any = dataclasses.field(default=default, metadata={_KEY: described})
    return field


def description(field: "dataclasses.Field[Any]") -> Description:
    """Return the presentation of an option; a plain dataclass field is labelled with its name."""
    found = field.metadata.get(_KEY)
    if isinstance(found, Description):
        return found
    return Description(label=field.name.replace("_", " ").capitalize())


def parse_options(
    kind: type[Options], chosen: Mapping[str, Value], label: str
) -> tuple[Options, dict[str, Applied]]:
    """Return the options with the chosen values, and an `Applied` for each unknown option.

    `label` is the backend's name in its note. An empty value stands for the default.

    Raises:
        BadInput: a value is not one of the option's choices.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    values: dict[str, Any] = {}
    ignored: dict[str, Applied] = {}
    for name, value in chosen.items():
        if name not in known:
            ignored[name] = Applied(value, None, f"{name} ignored: {label} has no such option")
        elif value not in (None, ""):
            choices = description(known[name]).choices
            if choices and value not in choices:
                listed = ", ".join(str(choice) for choice in choices if choice)
                raise BadInput(f"{name} must be one of {listed}; not {value}.")
            values[name] = value
    return kind(**values), ignored
