"""Prepare a job on a ComfyUI server before its first prompt is posted.

The names of checkpoints and ControlNet models are looked up on the server, control settings are
set at their placeholders, and pictures are uploaded.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from backends.base import Applied, Control, Value
from backends.comfyui.client import (
    NOT_LISTED,
    Client,
    as_file,
    find_name,
    list_checkpoints,
    list_controlnets,
    matching_controlnet,
)
from backends.comfyui.library import count_controls
from backends.comfyui.lora import resolve_loras
from backends.comfyui.placeholders import (
    CHECKPOINT,
    CONTROL_END,
    CONTROL_MODEL,
    CONTROL_PICTURE,
    CONTROL_START,
    CONTROL_WEIGHT,
    HIGH_THRESHOLD,
    INIT_IMAGE,
    LOW_THRESHOLD,
    PREPROCESSOR,
    RESULT,
    Placeholder,
)
from backends.comfyui.request import FIRST_CHECKPOINT, ApiRequest
from backends.comfyui.workflow import (
    SAVING,
    WEBSOCKET_OUTPUT_NODE,
    Workflow,
    linked_node,
    no_picture_output,
)
from backends.errors import BadInput
from backends.images.inputs import network_for, span, upright_png
from backends.json_values import items, mapping

MAX_WEIGHT = 10.0
MIN_THRESHOLD, MAX_THRESHOLD = 0.01, 0.99


async def resolve_names(client: Client, api_request: ApiRequest) -> None:
    """Complete `api_request` with names as the server writes them, and with the controls.

    Raises:
        BadInput: the server lacks a model or a LoRA, or the workflow lacks a picture.
        httpx2.HTTPError, ValueError: the server does not answer, or not with valid JSON.
    """
    model, workflow = api_request.model, api_request.workflow
    checkpoint, note = str(workflow.current(CHECKPOINT) or ""), ""
    if not api_request.is_user_workflow:
        checkpoint, note = await _resolve_checkpoint(client, model.source)
        api_request.values[CHECKPOINT] = checkpoint
    if checkpoint:
        unnamed = api_request.is_user_workflow or model.source == FIRST_CHECKPOINT
        requested = None if unnamed else model.source
        api_request.honoured["checkpoint"] = Applied(requested, checkpoint, note)
    if api_request.loras:
        found, applied = await resolve_loras(client, api_request.loras, workflow)
        api_request.loras = found
        api_request.honoured["loras"] = applied
    for index, name in enumerate(api_request.controls, start=1):
        await _prepare_control(client, api_request, name, index, checkpoint)
    for index in range(len(api_request.controls) + 1, count_controls(workflow) + 1):
        name = "control" if index == 1 else f"control_{index}"
        _use_default_picture(api_request, CONTROL_PICTURE.for_control(index), name)
    if api_request.request.image is None:
        _use_default_picture(api_request, INIT_IMAGE, "image")


async def require_output(client: Client, workflow: Workflow, *, has_socket: bool) -> None:
    """Check that a workflow puts out a picture that can be had, before anything is drawn.

    `has_socket` says that the server's websocket is open. Nodes of extensions are asked for at the
    server; what it does not tell is taken for good.

    Raises:
        BadInput: it puts out none.
        httpx2.RequestError: the server cannot be reached.
    """
    nodes = [workflow.class_of(id) for id in workflow.picture_nodes()]
    kinds = dict.fromkeys(kind for kind in nodes if has_socket or kind != WEBSOCKET_OUTPUT_NODE)
    for kind in kinds:  # a preview counts where it is tagged, and is not among them otherwise
        if kind in SAVING or "preview" in kind.lower() or await _may_save(client, kind):
            return
    if WEBSOCKET_OUTPUT_NODE in nodes:
        raise BadInput(
            f"The workflow {workflow.name} sends its picture over a websocket "
            f"({WEBSOCKET_OUTPUT_NODE}), and {client.server.name} opens none: a proxy before it "
            "may let none through. Let the workflow end in a SaveImage node."
        )
    tagged = ", ".join(kinds) if workflow.tagged_nodes.get(RESULT) else ""
    raise BadInput(no_picture_output(workflow.name, tagged))


_NO_PICTURE_TYPES: Final = frozenset(
    ("STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "AUDIO", "MODEL", "CLIP", "VAE", "CONDITIONING")
)
"""Types of inputs of which no picture can be made; there are others that extensions define."""


async def _may_save(client: Client, kind: str) -> bool:
    """Return whether nodes of a class may put out pictures, as far as the server tells."""
    described = mapping(await client.courtesy(f"/object_info/{quote(kind, safe='')}"))
    if kind not in described:  # an unknown class is refused by the server, which says so
        return True
    about = mapping(described[kind])
    inputs = mapping(about.get("input"))
    declared = [
        *mapping(inputs.get("required")).values(),
        *mapping(inputs.get("optional")).values(),
    ]
    takes_pictures = any(items(each)[:1] == ["IMAGE"] for each in declared)
    return about.get("output_node") is True and takes_pictures


async def upload(client: Client, api_request: ApiRequest) -> None:
    """Upload the control pictures and the initial image; put their names into `api_request`.

    Raises:
        BadInput: one of them cannot be read.
        httpx2.HTTPError, ValueError, LookupError: the server does not accept them.
    """
    request, values = api_request.request, api_request.values
    for index, control in enumerate(request.controls, start=1):
        data = await asyncio.to_thread(upright_png, control.image)
        uploaded = await client.upload(_upload_name(data), data)
        values[CONTROL_PICTURE.for_control(index)] = uploaded
    if request.image is not None:
        from backends.images.decoding import prepare_init_image

        size = request.width or 0, request.height or 0
        data = await asyncio.to_thread(prepare_init_image, request.image, *size)
        values[INIT_IMAGE] = await client.upload(_upload_name(data), data)


async def _resolve_checkpoint(client: Client, name: str) -> tuple[str, str]:
    """Return the checkpoint's file on the server, and a note where it could not be looked up."""
    known = await list_checkpoints(client)
    if known is None and name == FIRST_CHECKPOINT:
        raise BadInput(
            f"{client.server.name} does not tell which checkpoints it has. Name one: take the "
            "model comfyui/ with the name of its file."
        )
    if known is None:
        return as_file(name), NOT_LISTED
    if not known:
        raise BadInput(f"{client.server.name} has no checkpoint at all. Put one there first.")
    if name == FIRST_CHECKPOINT:
        return known[0], ""
    try:
        return find_name(name, known, "checkpoint", client.server.name), ""
    except BadInput as error:
        raise BadInput(f"{error} There is no workflow of that name here either.") from error


def _use_default_picture(api_request: ApiRequest, placeholder: Placeholder, name: str) -> None:
    """Record that the picture saved in a user's workflow is used, as the input `name`."""
    workflow = api_request.workflow
    if placeholder not in workflow.placeholders:
        return
    default = workflow.current(placeholder)
    if not default:
        raise BadInput(
            f"The workflow {workflow.name} needs a {placeholder}. Add one, or choose another model."
        )
    note = f"the workflow's own {placeholder} was used"
    api_request.honoured[name] = Applied(None, default, note)


def _upload_name(data: bytes) -> str:
    """Name a picture by its hash, so that the server's cache of node results still applies."""
    return f"lineup-{hashlib.sha256(data).hexdigest()[:20]}.png"


async def _prepare_control(
    client: Client, api_request: ApiRequest, name: str, index: int, checkpoint: str
) -> None:
    """Set all of a control except its picture at the placeholders of that `index`.

    `name` is the control's key in `api_request.controls`.

    Raises:
        BadInput: the server lacks the ControlNet model, or a value is invalid.
    """
    control = api_request.controls[name]
    start, end = span(control)
    used, note = _select_preprocessor(api_request, control.preprocessor, index)
    ignored = _set_values(
        api_request,
        index,
        {
            CONTROL_WEIGHT: min(max(control.weight, 0.0), MAX_WEIGHT),
            CONTROL_START: start,
            CONTROL_END: end,
        },
        {CONTROL_WEIGHT: 1.0, CONTROL_START: 0.0, CONTROL_END: 1.0},
    )
    _set_values(api_request, index, _thresholds(api_request, control, index), {})
    network = await _resolve_controlnet(client, api_request, control, index, checkpoint)
    if network is not None:
        api_request.values[CONTROL_MODEL.for_control(index)] = network
        used = f"{used} with {network}"
    notes = [note, f"{', '.join(ignored)} ignored: no place for it" if ignored else ""]
    api_request.honoured[name] = Applied(
        control.preprocessor, used, "; ".join(each for each in notes if each)
    )


async def _resolve_controlnet(
    client: Client, api_request: ApiRequest, control: Control, index: int, checkpoint: str
) -> str | None:
    """Return the ControlNet model to use, None to keep the workflow's own."""
    requested = network_for(index - 1, api_request.options.control_model)
    catalogued = api_request.model.controls
    listed = catalogued.get(control.preprocessor) or catalogued.get("*") or ""
    if CONTROL_MODEL.for_control(index) not in api_request.workflow.placeholders:
        if requested:
            note = "control model ignored: the workflow has no place for it"
            api_request.honoured["control_model"] = Applied(requested, None, note)
        return None
    if api_request.is_user_workflow and not requested:
        return None
    server, known = client.server.name, await list_controlnets(client)
    if known is None and (requested or listed):
        return as_file(requested or listed)
    if known is None:
        raise BadInput(
            f"{server} does not tell which ControlNet models it has. Name one in the options."
        )
    if requested or listed:
        return find_name(requested or listed, known, "ControlNet model", server)
    return matching_controlnet(control.preprocessor, checkpoint, known, server)


def _select_preprocessor(api_request: ApiRequest, requested: str, index: int) -> tuple[str, str]:
    """Return what makes the control map, and a note if that is not the `requested` preprocessor."""
    workflow = api_request.workflow
    nodes = workflow.tagged_nodes.get(PREPROCESSOR.for_control(index), ())
    if not nodes:
        ignored = requested != "none"
        note = f"{requested} ignored: the workflow marks no preprocessor" if ignored else ""
        return "the workflow's own way", note
    if requested == "none":
        api_request.bypassed_nodes.extend(nodes)
        return "none", ""
    own = workflow.class_of(nodes[0])
    names = [name for node in nodes for name in _names_of(workflow, node)]
    words = requested.lower().split("_")
    if any(all(word in name.lower() for word in words) for name in names):
        return requested, ""
    return own, f"{own} instead of {requested}: that is the workflow's preprocessor"


def _names_of(workflow: Workflow, node: str) -> Iterator[str]:
    """Yield what tells the kind of a preprocessor: its class and choices, and its model's.

    A node for any kind of map, or one whose model is loaded by another node, does not tell it by
    its class.
    """
    yield workflow.class_of(node)
    for name, value in workflow.graph[node]["inputs"].items():
        source = linked_node(value)
        if isinstance(value, str):
            yield value
        elif source in workflow.graph and name.lower() not in ("image", "images", "pixels"):
            yield workflow.class_of(source)
            inputs = workflow.graph[source]["inputs"].values()
            yield from (each for each in inputs if isinstance(each, str))


def _thresholds(api_request: ApiRequest, control: Control, index: int) -> dict[Placeholder, Value]:
    """Return Canny's thresholds in the node's unit: the request has 0 to 255, the core node 0 to 1.

    The workflow's current value tells which: above 1 it counts to 255.
    """
    found: dict[Placeholder, Value] = {}
    for placeholder in (LOW_THRESHOLD, HIGH_THRESHOLD):
        value = control.parameters.get(placeholder.name.replace(" ", "_"))
        current = api_request.workflow.current(placeholder.for_control(index))
        if isinstance(value, int | float) and isinstance(current, int | float):
            share = min(max(value / 255, MIN_THRESHOLD), MAX_THRESHOLD)
            found[placeholder] = value if current > 1 else round(share, 4)
    return found


def _set_values(
    api_request: ApiRequest,
    index: int,
    values: dict[Placeholder, Value],
    defaults: dict[Placeholder, Value],
) -> list[str]:
    """Set `values` for control `index`; return the placeholders that the workflow lacks.

    A missing placeholder is left out if the value equals its default, or it has no default.
    """
    missing: list[str] = []
    for key, value in values.items():
        placeholder = key.for_control(index)
        api_request.values[placeholder] = value
        known = placeholder in api_request.workflow.placeholders
        if not known and value != defaults.get(key, value):
            missing.append(str(placeholder))
    return missing
