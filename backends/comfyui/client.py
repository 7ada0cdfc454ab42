"""What a ComfyUI server has: checkpoints, ControlNet models.

All of it is looked up before anything is sent, so that a wrong name costs no wait.
"""

import re
from typing import Any, cast

from backends.comfyui_wire import Wire
from backends.control_picture import of_size
from backends.errors import BadInput
from backends.nearest import nearest

_ENDING = re.compile(r"\.(safetensors|ckpt|pth|pt|bin|gguf|sft)$", re.IGNORECASE)


async def checkpoints(wire: Wire) -> list[str]:
    """Return the server's checkpoints; raises as `Wire.get` does."""
    return await _listed(wire, "checkpoints", "CheckpointLoaderSimple", "ckpt_name")


async def networks(wire: Wire) -> list[str]:
    """Return the server's ControlNet models; raises as `Wire.get` does."""
    return await _listed(wire, "controlnet", "ControlNetLoader", "control_net_name")


def named(name: str, known: list[str], what: str, server: str) -> str:
    """Return what the server calls the thing that the user calls `name`.

    Raises:
        BadInput: it has none of that name; the sentence names the nearest.
    """
    wanted = _plain(name)
    alike = [each for each in known if wanted in (_plain(each), _plain(each).rpartition("/")[2])]
    if name in known or alike:
        return name if name in known else alike[0]
    raise BadInput(f"{server} has no {what} {name}. {nearest(name, known)}")


def fitting(preprocessor: str, checkpoint: str, known: list[str], server: str) -> str:
    """Return the ControlNet model whose name says that it wants such maps.

    One of the checkpoint's size is preferred. A ready map is taken for one of edges, as every
    other backend here does, unless there is only one model at all.

    Raises:
        BadInput: none does; the sentence names those that there are.
    """
    kind = "canny" if preprocessor == "none" else preprocessor
    fit = [each for each in known if kind in each.lower()]
    if not fit and preprocessor == "none" and len(known) == 1:
        fit = known
    if not fit:
        raise BadInput(
            f"{server} has no ControlNet model for {kind}. Name one of its own in the options. "
            f"{nearest(kind, known)}"
        )
    return of_size(fit, checkpoint)


async def _listed(wire: Wire, folder: str, node: str, name: str) -> list[str]:
    found = await wire.optional(f"/models/{folder}")
    if not isinstance(found, list):  # an older server: the node that loads them knows as well
        match await wire.optional(f"/object_info/{node}"):
            case {**about} if node in about:
                found = _choices(about[node], name)
            case _:
                found = []
    return [str(each) for each in cast(list[object], found)]


def _choices(about: Any, name: str) -> list[object]:
    """The choices that an input of a node has, in either form."""
    required = about.get("input", {}).get("required", {})
    match required.get(name):
        case [list() as choices, *_]:
            return cast(list[object], choices)
        case [str(), {"options": list() as choices}, *_]:
            return cast(list[object], choices)
        case _:
            return []


def _plain(name: str) -> str:
    return _ENDING.sub("", name.strip().lower().replace("\\", "/"))
