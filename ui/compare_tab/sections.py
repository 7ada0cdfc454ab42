"""The protocol of a form section, and the readers of field values that sections share.

A section lays out a part of the Compare form. Its widgets travel by name (`inputs_kwargs`), never
by position, so a new setting is a new entry in `widgets` and a new line in `apply` and
`values_for`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from gradio.blocks import Block
from gradio.components import Component

from compare.lineup import Lineup
from compare.records import RunSpec

Fields: TypeAlias = Mapping[str, Any]
"""The values of the form's widgets by name, as Gradio passes them to a handler."""
Updates: TypeAlias = dict[Block, Any]
"""What a handler returns: the new value or properties of each component that changes."""
Widgets: TypeAlias = dict[str, Component]

MODEL_DEFAULT = "model's own"
"""The text of a widget that leaves a setting to the model."""


class BadField(ValueError):
    """A field holds a value that cannot be parsed; the message says what to write instead.

    `field` is its name, as in `settings_line.ENTRIES`; "" if it has no place on the page.
    """

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


class Section(ABC):
    """A part of the form.

    `widgets` maps names to the components whose values are sent with the form. Calling the
    constructor lays the section out at the current place of the page.
    """

    widgets: Widgets

    @property
    def outputs(self) -> Sequence[Block]:
        """The components that `values_for` may change; the widgets unless a section says more."""
        return list(self.widgets.values())

    @abstractmethod
    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with this section's fields added.

        Raises:
            BadField: a field cannot be parsed.
        """

    @abstractmethod
    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Return the updates that make the form ask for `spec` again."""

    @property
    def refresh_outputs(self) -> Sequence[Block]:
        """The components that `refresh` may change."""
        return ()

    def refresh(self, lineup: Lineup) -> Updates:
        """Return the updates that show which models are ready now; called when the tab opens."""
        return {}


def parse_number(value: object, name: str, field: str) -> float | None:
    """Return a field as a number, None if it is empty; `name` starts the error's sentence."""
    if value is None or value == "":
        return None
    try:
        return float(str(value))
    except ValueError as error:
        raise BadField(f"{name} must be a number.", field) from error


def parse_integer(value: object, name: str, field: str) -> int | None:
    """Return a field as an integer, None if it is empty; `name` starts the error's sentence."""
    number = parse_number(value, name, field)
    if number is not None and not number.is_integer():
        raise BadField(f"{name} must be a whole number.", field)
    return None if number is None else int(number)
