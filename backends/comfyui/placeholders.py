"""Placeholders of a ComfyUI workflow: tags in node titles, and the inputs that they stand for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backends.errors import BadInput


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value of the request that a workflow takes; `index` counts its control pictures from 1.

    A placeholder that has nothing to do with control pictures always has the index 1.
    """

    name: str
    index: int = 1

    def __str__(self) -> str:
        """Return the placeholder as it is written in a node's title, "control picture 2"."""
        return self.name if self.index == 1 else f"{self.name} {self.index}"

    def for_control(self, index: int) -> "Placeholder":
        """Return the placeholder of the same name for control picture `index`."""
        return replace(self, index=index)


PROMPT = Placeholder("prompt")
NEGATIVE_PROMPT = Placeholder("negative prompt")
WIDTH = Placeholder("width")
HEIGHT = Placeholder("height")
COUNT = Placeholder("count")
SEED = Placeholder("seed")
STEPS = Placeholder("steps")
GUIDANCE = Placeholder("guidance")
SAMPLER = Placeholder("sampler")
SCHEDULER = Placeholder("scheduler")
CHECKPOINT = Placeholder("checkpoint")
INIT_IMAGE = Placeholder("start picture")
STRENGTH = Placeholder("strength")
CONTROL_PICTURE = Placeholder("control picture")
CONTROL_MODEL = Placeholder("control model")
CONTROL_WEIGHT = Placeholder("control weight")
CONTROL_START = Placeholder("control start")
CONTROL_END = Placeholder("control end")
LOW_THRESHOLD = Placeholder("low threshold")
HIGH_THRESHOLD = Placeholder("high threshold")
PREPROCESSOR = Placeholder("preprocessor")
"""Tags the nodes that make the control map; it stands for no input."""
RESULT = Placeholder("picture")
"""Tags the nodes whose pictures are the results; it stands for no input."""

_TEXT: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("prompt",),
    ("text_g", "text_l"),
    ("clip_l", "clip_g", "t5xxl", "llama"),
    ("bert", "mt5xl"),
    ("user_prompt",),
    ("positive_prompt",),
    ("text_positive",),
    ("positive",),
    ("string",),
    ("value",),
)
INPUTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "prompt": _TEXT,
    "negative prompt": (("negative_prompt",), ("text_negative",), ("negative",), *_TEXT),
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
"""The inputs that a placeholder may stand for: the first group of which the node has any input.

A group with an input of a plain value comes before one whose inputs are linked to other nodes.
"""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "size": ("width", "height"),
    "control": ("control weight", "control start", "control end"),
    "negative": ("negative prompt",),
}
"""Tags that stand for several placeholders, or for one with a longer name."""

NODE_TAGS = (PREPROCESSOR.name, RESULT.name)
"""Tags of a whole node instead of one of its inputs."""

NUMBERED = frozenset(
    {name for name in (*INPUTS, *GROUPS) if name.startswith("control")}
    | {PREPROCESSOR.name, LOW_THRESHOLD.name, HIGH_THRESHOLD.name}
)
"""Tags that may carry a number: those of the second control are "control picture 2" and so on."""

_TITLE = re.compile(r"\blineup\s*:\s*(.+)$", re.IGNORECASE)
_TAG = re.compile(r"([a-z ]+?)(?:\s+(\d+))?\s*(?:\(\s*(\w+)\s*\))?\s*$")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a node's title: its name, the index of its control, the input that it names.

    `index` is 1 without a number in the title, `input` is None without a name in brackets.
    """

    name: str
    index: int
    input: str | None

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The placeholders that the tag stands for."""
        return tuple(Placeholder(name, self.index) for name in GROUPS.get(self.name, (self.name,)))


def parse_tags(id: str, node: Mapping[str, Any], name: str) -> list[Tag]:
    """Return the tags in the title of node `id` of the workflow `name`.

    Raises:
        BadInput: one of them is unknown, or has a number where none is allowed.
    """
    match node:
        case {"_meta": {"title": str(title)}}:
            found = _TITLE.search(title)
        case _:
            found = None
    tags: list[Tag] = []
    for text in found[1].lower().split(",") if found else ():
        parsed = _TAG.match(text.strip())
        tag, number, input = parsed.groups() if parsed else ("", None, None)
        known = INPUTS if input else (*INPUTS, *GROUPS, *NODE_TAGS)
        if tag not in known or (number is not None and tag not in NUMBERED):
            known = ", ".join((*INPUTS, *GROUPS, *NODE_TAGS))
            raise BadInput(
                f'The workflow {name} marks node {id} with "lineup: {text.strip()}", which is no '
                f"place. There are {known}."
            )
        tags.append(Tag(tag, int(number or 1), input))
    return tags


def find_inputs(
    placeholder: Placeholder, named_input: str | None, inputs: Mapping[str, Any]
) -> list[str]:
    """Return the inputs of a node that `placeholder` stands for, or only the `named_input`."""
    if named_input is not None:
        return [input for input in inputs if input.lower() == named_input]
    groups = [[input for input in group if input in inputs] for group in INPUTS[placeholder.name]]
    plain = (group for group in groups if any(not isinstance(inputs[each], list) for each in group))
    return next(plain, None) or next(filter(None, groups), [])
