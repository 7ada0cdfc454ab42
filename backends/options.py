"""One backend's options: as a request chose them, as its `Options` dataclass describes them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from backends.base import Applied, Value
from backends.errors import BadInput

Options = TypeVar("Options")


def parse_options(
    kind: type[Options], chosen: Mapping[str, Value], label: str
) -> tuple[Options, dict[str, Applied]]:
    """Return the options with what was chosen, and a note for each one that there is not.

    `label` is the backend's name in that note. Empty values stand for the default.

    Raises:
        BadInput: a value is none of those that its option has.
    """
    known = {option.name: option for option in fields(kind)}  # pyright: ignore[reportArgumentType]
    values: dict[str, Any] = {}
    ignored: dict[str, Applied] = {}
    for name, value in chosen.items():
        if name not in known:
            ignored[name] = Applied(value, None, f"{name} ignored: {label} has no such option")
        elif value not in (None, ""):
            choices = known[name].metadata.get("choices", (value,))
            if value not in choices:
                listed = ", ".join(str(choice) for choice in choices if choice)
                raise BadInput(f"{name} must be one of {listed}; not {value}.")
            values[name] = value
    return kind(**values), ignored
