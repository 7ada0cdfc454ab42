"""What a job on a ComfyUI server needs before its first prompt: names looked up, pictures sent."""

import asyncio
import hashlib

from backends.base import Honour
from backends.comfyui.client import checkpoints, named
from backends.comfyui.library import PICTURE, most_controls
from backends.comfyui.placeholders import numbered
from backends.comfyui.prepare import add_control
from backends.comfyui.request import FIRST, Call
from backends.comfyui_wire import Wire
from backends.control_picture import upright_png
from backends.errors import BadInput


async def look_up(wire: Wire, call: Call) -> None:
    """Complete `call` with what the server calls things.

    Raises:
        BadInput: the server lacks what was asked for.
        httpx2.HTTPError, ValueError: it gives no answer that makes sense.
    """
    checkpoint = str(call.workflow.own("checkpoint") or "")
    if not call.own:
        checkpoint = await _checkpoint(wire, call.model.source)
        call.values["checkpoint"] = checkpoint
    if checkpoint:
        asked = None if call.own or call.model.source == FIRST else call.model.source
        call.honoured["checkpoint"] = Honour(asked, checkpoint)
    for number, name in enumerate(call.controls, start=1):
        await add_control(wire, call, name, number, checkpoint)
    for number in range(len(call.controls) + 1, most_controls(call.workflow) + 1):
        _as_it_came(call, numbered(PICTURE, number), numbered("control", number).replace(" ", "_"))
    if call.request.image is None:
        _as_it_came(call, "start picture", "image")


async def upload(wire: Wire, call: Call) -> None:
    """Send the pictures that the job starts from, and put their names into `call`.

    Raises:
        BadInput: one of them cannot be read.
        httpx2.HTTPError, ValueError, LookupError: the server does not take them.
    """
    asked = call.request
    for number, control in enumerate(asked.controls, start=1):
        data = await asyncio.to_thread(upright_png, control.image)
        call.values[numbered(PICTURE, number)] = await wire.upload(_name(data), data)
    if asked.image is not None:
        from backends.images.inputs import start

        size = asked.width or 0, asked.height or 0
        data = await asyncio.to_thread(start, asked.image, *size)
        call.values["start picture"] = await wire.upload(_name(data), data)


async def _checkpoint(wire: Wire, wanted: str) -> str:
    known = await checkpoints(wire)
    if not known:
        raise BadInput(f"{wire.server.name} has no checkpoint at all. Put one there first.")
    if wanted == FIRST:
        return known[0]
    try:
        return named(wanted, known, "checkpoint", wire.server.name)
    except BadInput as error:
        raise BadInput(f"{error} There is no workflow of that name here either.") from error


def _as_it_came(call: Call, place: str, name: str) -> None:
    """Say that a workflow of the user's is drawn with the picture that it came with."""
    if place not in call.workflow.places:
        return
    own = call.workflow.own(place)
    if not own:
        raise BadInput(
            f"The workflow {call.workflow.name} needs a {place}. Add one, or choose another model."
        )
    call.honoured[name] = Honour(None, own, f"the workflow's own {place} was used")


def _name(data: bytes) -> str:
    """The same picture has the same name, so that the server need not look at it anew."""
    return f"lineup-{hashlib.sha256(data).hexdigest()[:20]}.png"
