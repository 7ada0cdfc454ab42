"""A control picture, as the ControlNet extension of an AUTOMATIC1111 server takes it."""

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Any, cast

from backends.a1111_modules import Module, module_for
from backends.a1111_request import CURRENT, Call
from backends.a1111_wire import Wire
from backends.base import Control, Honour, Model, Value
from backends.control_picture import of_size, span, upright_png
from backends.errors import BadInput
from backends.nearest import nearest


async def add_control(wire: Wire, model: Model, call: Call, control: Control) -> None:
    """Put `control` into `call`, with the module and the ControlNet model that the server has.

    Raises:
        BadInput: the server lacks the extension or what the control picture needs of it, or the
            picture cannot be read. A picture without its control is not what was asked for.
    """
    server = wire.server.name
    models = _names(await wire.optional("/controlnet/model_list"), "model_list")
    modules = _names(await wire.optional("/controlnet/module_list?alias_names=true"), "module_list")
    if models is None or modules is None:
        raise BadInput(
            f"{server} has no ControlNet extension. Install it there, or take the control "
            "picture away."
        )
    module = module_for(control.preprocessor, control.parameters)
    name = _first(module.names, modules)
    if name is None:
        raise BadInput(
            f"{server} has no ControlNet preprocessor {module.names[0]}. "
            f"{nearest(module.names[0], modules)}"
        )
    networks = [each for each in models if each.lower() != "none"]
    listed = model.controls.get(control.preprocessor) or model.controls.get("*")
    wanted = call.options.control_model or listed
    if wanted:
        network = next((each for each in networks if _same(each, wanted)), None)
    else:
        network = await _fitting(wire, model, module, networks)
    if network is None:
        looked = wanted or f"for {control.preprocessor}"
        raise BadInput(
            f"{server} has no ControlNet model {looked}. Name one of its own in the options. "
            f"{nearest(wanted or control.preprocessor, networks)}"
        )
    image = base64.b64encode(await asyncio.to_thread(upright_png, control.image)).decode()
    unit = _unit(control, module) | {"module": name, "model": network, "image": image}
    call.body["alwayson_scripts"] = {"controlnet": {"args": [unit]}}
    call.honoured["control"] = Honour(
        control.preprocessor, f"{name} with {network}", _ignored(control, module)
    )


def _unit(control: Control, module: Module) -> dict[str, Any]:
    start, end = span(control)
    unit: dict[str, Any] = {
        "enabled": True,
        "weight": min(max(control.weight, 0.0), 2.0),
        "guidance_start": start,
        "guidance_end": end,
        # As on this machine: the map gets the generation's size, whatever its shape was.
        "resize_mode": "Just Resize",
        "pixel_perfect": True,
        "control_mode": "Balanced",
        "save_detected_map": False,
    }
    for key, parameter in (("threshold_a", module.first), ("threshold_b", module.second)):
        value = _number(control.parameters.get(parameter)) if parameter else None
        if value is not None:
            unit[key] = value
    return unit


def _ignored(control: Control, module: Module) -> str:
    """A note about what was set and has no counterpart on the server."""
    from backends.preprocessors import PREPROCESSORS

    known = PREPROCESSORS.get(control.preprocessor)
    taken = {module.first, module.second, *module.flags}
    lost = [
        parameter.label
        for parameter in (known.parameters if known else ())
        if parameter.name not in taken
        and control.parameters.get(parameter.name, parameter.default) != parameter.default
    ]
    if not 0.0 <= control.weight <= 2.0:
        lost.append(f"a weight of {control.weight:g} (at most 2)")
    return f"{', '.join(lost)} ignored: the server's ControlNet takes none" if lost else ""


async def _fitting(wire: Wire, model: Model, module: Module, networks: list[str]) -> str | None:
    """The network whose name says that it wants such maps, of the checkpoint's size if possible."""
    fit = [each for each in networks if re.search(module.model, each, re.IGNORECASE)]
    if len(fit) < 2:
        return next(iter(fit), None)
    checkpoint = model.source
    if checkpoint == CURRENT:
        checkpoint = str((await wire.get("/sdapi/v1/options")).get("sd_model_checkpoint") or "")
    return of_size(fit, checkpoint)


def _names(answer: object, key: str) -> list[str] | None:
    if not isinstance(answer, dict):
        return None
    listed = cast(Mapping[str, object], answer).get(key)
    return [str(each) for each in cast(list[object], listed)] if isinstance(listed, list) else None


def _first(wanted: tuple[str, ...], known: list[str]) -> str | None:
    lowered = {each.lower(): each for each in known}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _same(known: str, wanted: str) -> bool:
    """Whether two names mean one network; servers put a hash behind theirs."""
    bare = re.sub(r"\s*\[\w+\]$", "", known)
    return wanted.strip().lower() in (known.lower(), bare.lower())


def _number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError as error:
        raise BadInput(f"{value} is no number. Change the preprocessor's settings.") from error
