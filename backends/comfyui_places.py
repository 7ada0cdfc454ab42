"""Marks in the titles of a ComfyUI workflow's nodes, and the inputs that they stand for."""

import re
from collections.abc import Mapping
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

SEVERAL: Mapping[str, tuple[str, ...]] = {
    "size": ("width", "height"),
    "control": ("control weight", "control start", "control end"),
    "negative": ("negative prompt",),
}
WHOLE = ("preprocessor", "picture")
"""Marks of a node as such: what makes the map, and whose pictures are the results."""

_MARK = re.compile(r"\blineup\s*:\s*(.+)$", re.IGNORECASE)
_PLACE = re.compile(r"([a-z ]+?)\s*(?:\(\s*(\w+)\s*\))?\s*$")


def marks_of(id: str, node: Mapping[str, Any], name: str) -> list[tuple[str, str | None]]:
    """Return the marks in the title of node `id` of a workflow, each with the input that it names.

    Raises:
        BadInput: one of them is no mark.
    """
    match node:
        case {"_meta": {"title": str(title)}}:
            found = _MARK.search(title)
        case _:
            found = None
    marks: list[tuple[str, str | None]] = []
    for each in found[1].lower().split(",") if found else ():
        place = _PLACE.match(each.strip())
        mark, wanted = place.groups() if place else ("", None)
        if mark not in (INPUTS if wanted else (*INPUTS, *SEVERAL, *WHOLE)):
            known = ", ".join((*INPUTS, *SEVERAL, *WHOLE))
            raise BadInput(
                f'The workflow {name} marks node {id} with "lineup: {each.strip()}", which is no '
                f"place. There are {known}."
            )
        marks.append((mark, wanted))
    return marks


def inputs_for(place: str, wanted: str | None, inputs: Mapping[str, Any]) -> list[str]:
    """Return those of a node's inputs that `place` stands for, or the one that is `wanted`."""
    if wanted is not None:
        return [known for known in inputs if known.lower() == wanted]
    for group in INPUTS[place]:
        if found := [each for each in group if each in inputs]:
            return found
    return []
