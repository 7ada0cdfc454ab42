"""Control pictures, as a ComfyUI workflow takes them."""

from backends.base import Control, Honour, Value
from backends.comfyui.client import fitting, named, networks
from backends.comfyui.placeholders import numbered
from backends.comfyui.request import Call
from backends.comfyui_wire import Wire
from backends.control_picture import network_for, span

MOST_WEIGHT = 10.0
LEAST_THRESHOLD, MOST_THRESHOLD = 0.01, 0.99


async def add_control(wire: Wire, call: Call, name: str, number: int, checkpoint: str) -> None:
    """Put all of a control but the picture itself into `call`, at the places of that `number`.

    `name` is the control's in `call.controls`.

    Raises:
        BadInput: the server lacks the ControlNet model, or the values make no sense.
    """
    control = call.controls[name]
    start, end = span(control)
    used, note = _preprocessor(call, control.preprocessor, number)
    ignored = _put(
        call,
        number,
        {
            "control weight": min(max(control.weight, 0.0), MOST_WEIGHT),
            "control start": start,
            "control end": end,
        },
        {"control weight": 1.0, "control start": 0.0, "control end": 1.0},
    )
    _put(call, number, _thresholds(call, control, number), {})
    network = await _network(wire, call, control, number, checkpoint)
    if network is not None:
        call.values[numbered("control model", number)] = network
        used = f"{used} with {network}"
    notes = [note, f"{', '.join(ignored)} ignored: no place for it" if ignored else ""]
    call.honoured[name] = Honour(
        control.preprocessor, used, "; ".join(each for each in notes if each)
    )


async def _network(
    wire: Wire, call: Call, control: Control, number: int, checkpoint: str
) -> str | None:
    """The ControlNet model to draw with, None for the workflow's own."""
    wanted = network_for(number - 1, call.options.control_model)
    listed = call.model.controls.get(control.preprocessor) or call.model.controls.get("*") or ""
    if numbered("control model", number) not in call.workflow.places:
        if wanted:
            note = "control model ignored: the workflow has no place for it"
            call.honoured["control_model"] = Honour(wanted, None, note)
        return None
    if call.own and not wanted:
        return None
    server, known = wire.server.name, await networks(wire)
    if wanted or listed:
        return named(wanted or listed, known, "ControlNet model", server)
    return fitting(control.preprocessor, checkpoint, known, server)


def _preprocessor(call: Call, wanted: str, number: int) -> tuple[str, str]:
    """What makes the map, and what to say where that is not what was asked for."""
    nodes = call.workflow.marked.get(numbered("preprocessor", number), ())
    if not nodes:
        ignored = wanted != "none"
        note = f"{wanted} ignored: the workflow marks no preprocessor" if ignored else ""
        return "the workflow's own way", note
    if wanted == "none":
        call.bypassed.extend(nodes)
        return "none", ""
    kinds = [str(call.workflow.graph[node]["class_type"]) for node in nodes]
    if any(wanted in kind.lower() for kind in kinds):
        return wanted, ""
    return kinds[0], f"{kinds[0]} instead of {wanted}: that is the workflow's preprocessor"


def _thresholds(call: Call, control: Control, number: int) -> dict[str, Value]:
    """Canny's thresholds of 0 to 255, as the node counts them: the core one from 0 to 1."""
    found: dict[str, Value] = {}
    for name in ("low threshold", "high threshold"):
        value = control.parameters.get(name.replace(" ", "_"))
        own = call.workflow.own(numbered(name, number))
        if isinstance(value, int | float) and isinstance(own, int | float):
            share = min(max(value / 255, LEAST_THRESHOLD), MOST_THRESHOLD)
            found[name] = value if own > 1 else round(share, 4)
    return found


def _put(call: Call, number: int, values: dict[str, Value], usual: dict[str, Value]) -> list[str]:
    """Set values at their places; return the names of those that have none and would matter."""
    call.values.update({numbered(name, number): value for name, value in values.items()})
    return [
        numbered(name, number)
        for name, value in values.items()
        if numbered(name, number) not in call.workflow.places and value != usual.get(name, value)
    ]
