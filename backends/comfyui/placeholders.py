"""Marks in the titles of a ComfyUI workflow's nodes, and the inputs that they stand for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import BadInput

INPUTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "prompt": (
        ("text",),
        ("prompt",),
        ("text_g", "text_l"),
        ("clip_l", "t5xxl"),
        ("positive",),
        ("string",),
        ("value",),
    ),
    "negative prompt": (
        ("text",),
        ("text_g", "text_l"),
        ("negative_prompt",),
        ("negative",),
        ("string",),
        ("value",),
    ),
    "width": (("width",), ("value",)),
    "height": (("height",), ("value",)),
    "count": (("batch_size",), ("amount",), ("value",)),
    "seed": (("seed",), ("noise_seed",), ("value",)),
    "steps": (("steps",), ("value",)),
    "guidance": (("cfg",), ("guidance",), ("value",)),
    "sampler": (("sampler_name",),),
    "scheduler": (("scheduler",),),
    "checkpoint": (("ckpt_name",), ("unet_name",), ("model_name",)),
    "start picture": (("image",),),
    "strength": (("denoise",), ("strength",), ("value",)),
    "control picture": (("image",),),
    "control model": (("control_net_name",),),
    "control weight": (("strength",), ("weight",)),
    "control start": (("start_percent",), ("start_at",)),
    "control end": (("end_percent",), ("end_at",)),
    "low threshold": (("low_threshold",),),
    "high threshold": (("high_threshold",),),
}
"""The inputs that a place may stand for: all of the first group of which the node has any."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "size": ("width", "height"),
    "control": ("control weight", "control start", "control end"),
    "negative": ("negative prompt",),
}
NODE_TAGS = ("preprocessor", "picture")
"""Marks of a node as such: what makes the map, and whose pictures are the results."""

NUMBERED = frozenset(
    {name for name in (*INPUTS, *GROUPS) if name.startswith("control")}
    | {"preprocessor", "low threshold", "high threshold"}
)
"""Marks that may be numbered: those of the second control are "control picture 2" and so on."""

_TITLE = re.compile(r"\blineup\s*:\s*(.+)$", re.IGNORECASE)
_TAG = re.compile(r"([a-z ]+?)(?:\s+(\d+))?\s*(?:\(\s*(\w+)\s*\))?\s*$")


@dataclass(frozen=True, slots=True)
class Tag:
    """A mark of the control `number` (of the whole workflow: 1), and the input that it names."""

    name: str
    index: int
    input: str | None

    @property
    def places(self) -> tuple[str, ...]:
        """The places that it stands for."""
        return tuple(numbered(each, self.index) for each in GROUPS.get(self.name, (self.name,)))


def numbered(name: str, number: int) -> str:
    """Return what a place or mark is called for the control `number`, from 1."""
    return name if number == 1 else f"{name} {number}"


def parse_tags(id: str, node: Mapping[str, Any], name: str) -> list[Tag]:
    """Return the marks in the title of node `id` of a workflow.

    Raises:
        BadInput: one of them is no mark.
    """
    match node:
        case {"_meta": {"title": str(title)}}:
            found = _TITLE.search(title)
        case _:
            found = None
    marks: list[Tag] = []
    for each in found[1].lower().split(",") if found else ():
        place = _TAG.match(each.strip())
        mark, number, wanted = place.groups() if place else ("", None, None)
        known = INPUTS if wanted else (*INPUTS, *GROUPS, *NODE_TAGS)
        if mark not in known or (number is not None and mark not in NUMBERED):
            known = ", ".join((*INPUTS, *GROUPS, *NODE_TAGS))
            raise BadInput(
                f'The workflow {name} marks node {id} with "lineup: {each.strip()}", which is no '
                f"place. There are {known}."
            )
        marks.append(Tag(mark, int(number or 1), wanted))
    return marks


def find_inputs(place: str, wanted: str | None, inputs: Mapping[str, Any]) -> list[str]:
    """Return those of a node's inputs that `place` stands for, or the one that is `wanted`."""
    if wanted is not None:
        return [known for known in inputs if known.lower() == wanted]
    for group in INPUTS[place.rstrip(" 0123456789")]:
        if found := [each for each in group if each in inputs]:
            return found
    return []
