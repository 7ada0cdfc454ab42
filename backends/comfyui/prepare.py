"""Control pictures, as a ComfyUI workflow takes them.

What a job on a ComfyUI server needs before its first prompt: names looked up, pictures sent.
"""

import asyncio
import hashlib

from backends.base import Applied, Control, Value
from backends.comfyui.client import (
    Client,
    find_name,
    list_checkpoints,
    list_controlnets,
    matching_controlnet,
)
from backends.comfyui.library import PICTURE, count_controls
from backends.comfyui.placeholders import numbered
from backends.comfyui.request import FIRST_CHECKPOINT, ApiRequest
from backends.errors import BadInput
from backends.images.inputs import network_for, span, upright_png


async def resolve_names(wire: Client, call: ApiRequest) -> None:
    """Complete `call` with what the server calls things.

    Raises:
        BadInput: the server lacks what was asked for.
        httpx2.HTTPError, ValueError: it gives no answer that makes sense.
    """
    checkpoint = str(call.workflow.current("checkpoint") or "")
    if not call.is_user_workflow:
        checkpoint = await _resolve_checkpoint(wire, call.model.source)
        call.values["checkpoint"] = checkpoint
    if checkpoint:
        asked = (
            None
            if call.is_user_workflow or call.model.source == FIRST_CHECKPOINT
            else call.model.source
        )
        call.honoured["checkpoint"] = Applied(asked, checkpoint)
    for number, name in enumerate(call.controls, start=1):
        await _prepare_control(wire, call, name, number, checkpoint)
    for number in range(len(call.controls) + 1, count_controls(call.workflow) + 1):
        _use_default_picture(
            call, numbered(PICTURE, number), numbered("control", number).replace(" ", "_")
        )
    if call.request.image is None:
        _use_default_picture(call, "start picture", "image")


async def upload(wire: Client, call: ApiRequest) -> None:
    """Send the pictures that the job starts from, and put their names into `call`.

    Raises:
        BadInput: one of them cannot be read.
        httpx2.HTTPError, ValueError, LookupError: the server does not take them.
    """
    asked = call.request
    for number, control in enumerate(asked.controls, start=1):
        data = await asyncio.to_thread(upright_png, control.image)
        call.values[numbered(PICTURE, number)] = await wire.upload(_upload_name(data), data)
    if asked.image is not None:
        from backends.images.decoding import prepare_init_image

        size = asked.width or 0, asked.height or 0
        data = await asyncio.to_thread(prepare_init_image, asked.image, *size)
        call.values["start picture"] = await wire.upload(_upload_name(data), data)


async def _resolve_checkpoint(wire: Client, wanted: str) -> str:
    known = await list_checkpoints(wire)
    if not known:
        raise BadInput(f"{wire.server.name} has no checkpoint at all. Put one there first.")
    if wanted == FIRST_CHECKPOINT:
        return known[0]
    try:
        return find_name(wanted, known, "checkpoint", wire.server.name)
    except BadInput as error:
        raise BadInput(f"{error} There is no workflow of that name here either.") from error


def _use_default_picture(call: ApiRequest, place: str, name: str) -> None:
    """Say that a workflow of the user's is drawn with the picture that it came with."""
    if place not in call.workflow.placeholders:
        return
    own = call.workflow.current(place)
    if not own:
        raise BadInput(
            f"The workflow {call.workflow.name} needs a {place}. Add one, or choose another model."
        )
    call.honoured[name] = Applied(None, own, f"the workflow's own {place} was used")


def _upload_name(data: bytes) -> str:
    """The same picture has the same name, so that the server need not look at it anew."""
    return f"lineup-{hashlib.sha256(data).hexdigest()[:20]}.png"


MAX_WEIGHT = 10.0
MIN_THRESHOLD, MAX_THRESHOLD = 0.01, 0.99


async def _prepare_control(
    wire: Client, call: ApiRequest, name: str, number: int, checkpoint: str
) -> None:
    """Put all of a control but the picture itself into `call`, at the places of that `number`.

    `name` is the control's in `call.controls`.

    Raises:
        BadInput: the server lacks the ControlNet model, or the values make no sense.
    """
    control = call.controls[name]
    start, end = span(control)
    used, note = _select_preprocessor(call, control.preprocessor, number)
    ignored = _set_values(
        call,
        number,
        {
            "control weight": min(max(control.weight, 0.0), MAX_WEIGHT),
            "control start": start,
            "control end": end,
        },
        {"control weight": 1.0, "control start": 0.0, "control end": 1.0},
    )
    _set_values(call, number, _thresholds(call, control, number), {})
    network = await _resolve_controlnet(wire, call, control, number, checkpoint)
    if network is not None:
        call.values[numbered("control model", number)] = network
        used = f"{used} with {network}"
    notes = [note, f"{', '.join(ignored)} ignored: no place for it" if ignored else ""]
    call.honoured[name] = Applied(
        control.preprocessor, used, "; ".join(each for each in notes if each)
    )


async def _resolve_controlnet(
    wire: Client, call: ApiRequest, control: Control, number: int, checkpoint: str
) -> str | None:
    """The ControlNet model to draw with, None for the workflow's own."""
    wanted = network_for(number - 1, call.options.control_model)
    listed = call.model.controls.get(control.preprocessor) or call.model.controls.get("*") or ""
    if numbered("control model", number) not in call.workflow.placeholders:
        if wanted:
            note = "control model ignored: the workflow has no place for it"
            call.honoured["control_model"] = Applied(wanted, None, note)
        return None
    if call.is_user_workflow and not wanted:
        return None
    server, known = wire.server.name, await list_controlnets(wire)
    if wanted or listed:
        return find_name(wanted or listed, known, "ControlNet model", server)
    return matching_controlnet(control.preprocessor, checkpoint, known, server)


def _select_preprocessor(call: ApiRequest, wanted: str, number: int) -> tuple[str, str]:
    """What makes the map, and what to say where that is not what was asked for."""
    nodes = call.workflow.tagged_nodes.get(numbered("preprocessor", number), ())
    if not nodes:
        ignored = wanted != "none"
        note = f"{wanted} ignored: the workflow marks no preprocessor" if ignored else ""
        return "the workflow's own way", note
    if wanted == "none":
        call.bypassed_nodes.extend(nodes)
        return "none", ""
    kinds = [str(call.workflow.graph[node]["class_type"]) for node in nodes]
    if any(wanted in kind.lower() for kind in kinds):
        return wanted, ""
    return kinds[0], f"{kinds[0]} instead of {wanted}: that is the workflow's preprocessor"


def _thresholds(call: ApiRequest, control: Control, number: int) -> dict[str, Value]:
    """Canny's thresholds of 0 to 255, as the node counts them: the core one from 0 to 1."""
    found: dict[str, Value] = {}
    for name in ("low threshold", "high threshold"):
        value = control.parameters.get(name.replace(" ", "_"))
        own = call.workflow.current(numbered(name, number))
        if isinstance(value, int | float) and isinstance(own, int | float):
            share = min(max(value / 255, MIN_THRESHOLD), MAX_THRESHOLD)
            found[name] = value if own > 1 else round(share, 4)
    return found


def _set_values(
    call: ApiRequest, number: int, values: dict[str, Value], usual: dict[str, Value]
) -> list[str]:
    """Set values at their places; return the names of those that have none and would matter."""
    call.values.update({numbered(name, number): value for name, value in values.items()})
    return [
        numbered(name, number)
        for name, value in values.items()
        if numbered(name, number) not in call.workflow.placeholders
        and value != usual.get(name, value)
    ]
