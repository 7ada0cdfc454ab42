"""Control pictures as units of the ControlNet extension of an AUTOMATIC1111 server.

`MODULES` maps Lineup's preprocessors to the extension's, as plain data.
"""

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from backends.a1111.client import Client
from backends.a1111.request import CURRENT_CHECKPOINT, ApiRequest
from backends.base import Applied, Control, Model, Value
from backends.errors import BadInput
from backends.images.inputs import network_for, of_size, span, upright_png
from backends.json_values import count, mapping
from backends.wording import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """A preprocessor of the extension, which calls it a module.

    `names` are its names on different servers, `model_pattern` is a regular expression for the
    names of the ControlNet models that take its maps. `threshold_a` and `threshold_b` name the
    parameters that are sent under these keys, `flags` the parameters that are part of the module's
    name.
    """

    names: tuple[str, ...]
    model_pattern: str
    threshold_a: str = ""
    threshold_b: str = ""
    flags: frozenset[str] = frozenset()


DEFAULT_UNITS: Final = 3
_INVERT: Final = "invert (from white bg & black line)"
_STANDARD: Final = "lineart_standard (from white bg & black line)"
_SOFT_EDGE: Final = "softedge|hed"
_LINE_ART: Final = "lineart(?!_anime)"


def _flags(*names: str) -> frozenset[str]:
    return frozenset(names)


# The first module of a preprocessor whose flags are all set is used.
MODULES: Final[Mapping[str, tuple[Module, ...]]] = MappingProxyType(
    {
        "none": (Module(names=("none",), model_pattern="canny"),),
        "invert": (Module(names=(_INVERT, "invert"), model_pattern="scribble"),),
        "canny": (
            Module(
                names=("canny",),
                model_pattern="canny",
                threshold_a="low_threshold",
                threshold_b="high_threshold",
            ),
        ),
        "shuffle": (Module(names=("shuffle",), model_pattern="shuffle"),),
        "lineart_standard": (
            Module(names=(_STANDARD, "lineart_standard"), model_pattern=_LINE_ART),
        ),
        "hed": (
            Module(names=("scribble_hed",), model_pattern="scribble", flags=_flags("scribble")),
            Module(
                names=("softedge_hedsafe", "hed_safe"),
                model_pattern=_SOFT_EDGE,
                flags=_flags("safe"),
            ),
            Module(names=("softedge_hed", "hed"), model_pattern=_SOFT_EDGE),
        ),
        "pidinet": (
            Module(names=("scribble_pidinet",), model_pattern="scribble", flags=_flags("scribble")),
            Module(names=("softedge_pidisafe",), model_pattern=_SOFT_EDGE, flags=_flags("safe")),
            Module(names=("softedge_pidinet", "pidinet"), model_pattern=_SOFT_EDGE),
        ),
        "lineart": (
            Module(names=("lineart_coarse",), model_pattern=_LINE_ART, flags=_flags("coarse")),
            Module(names=("lineart_realistic", "lineart"), model_pattern=_LINE_ART),
        ),
        "lineart_anime": (Module(names=("lineart_anime",), model_pattern="lineart_anime"),),
        "teed": (Module(names=("softedge_teed",), model_pattern=_SOFT_EDGE),),
        "anyline": (Module(names=("softedge_anyline",), model_pattern=f"mistoline|{_LINE_ART}"),),
        "mlsd": (
            Module(names=("mlsd",), model_pattern="mlsd", threshold_a="thr_v", threshold_b="thr_d"),
        ),
        "midas": (Module(names=("depth_midas", "depth"), model_pattern="depth"),),
        "zoe": (Module(names=("depth_zoe",), model_pattern="depth"),),
        "leres": (Module(names=("depth_leres",), model_pattern="depth"),),
        "normalbae": (Module(names=("normal_bae", "normalbae"), model_pattern="normal"),),
        "openpose": (
            Module(
                names=("openpose_full",),
                model_pattern="pose",
                flags=_flags("include_hand", "include_face"),
            ),
            Module(names=("openpose_hand",), model_pattern="pose", flags=_flags("include_hand")),
            Module(names=("openpose_face",), model_pattern="pose", flags=_flags("include_face")),
            Module(names=("openpose",), model_pattern="pose"),
        ),
    }
)


def select_module(preprocessor: str, parameters: Mapping[str, Value]) -> Module:
    """Return the module for a preprocessor; an unknown name is used as the server's own."""
    for module in MODULES.get(preprocessor, ()):
        if all(parameters.get(flag) for flag in module.flags):
            return module
    return Module(names=(preprocessor,), model_pattern=preprocessor.partition("_")[0])


async def add_controls(client: Client, model: Model, api_request: ApiRequest) -> None:
    """Add a unit of the extension to the body for each control of `api_request`.

    Raises:
        BadInput: the server lacks the extension, a model or a module, or a picture cannot be read.
            A picture drawn without its control would not be what was requested.
    """
    server = client.server.name
    models = _name_list(await client.optional("/controlnet/model_list"), "model_list")
    modules = _name_list(
        await client.courtesy("/controlnet/module_list?alias_names=true"), "module_list"
    )
    if models is None:
        raise BadInput(
            f"{server} has no ControlNet extension. Install it there, or take the control "
            "picture away."
        )
    await _check_unit_count(client, len(api_request.controls))
    networks = [each for each in models if each.lower() != "none"]
    units: list[dict[str, Any]] = []
    for index, (name, control) in enumerate(api_request.controls.items()):
        wanted = network_for(index, api_request.options.control_model)
        listed = model.controls.get(control.preprocessor) or model.controls.get("*") or ""
        module = select_module(control.preprocessor, control.parameters)
        unit = _build_unit(control, module)
        unit["module"] = _resolve_module(client, module, modules)
        unit["model"] = await _resolve_network(client, model, control, wanted or listed, networks)
        picture = await asyncio.to_thread(upright_png, control.image)
        unit["image"] = base64.b64encode(picture).decode()
        units.append(unit)
        api_request.honoured[name] = Applied(
            control.preprocessor,
            f"{unit['module']} with {unit['model']}",
            _ignored_note(control, module),
        )
    api_request.body["alwayson_scripts"] = {"controlnet": {"args": units}}


async def _check_unit_count(client: Client, number: int) -> None:
    """Refuse more units than the server is configured for: it would silently ignore the others.

    The extension reports its limit (sd-webui-controlnet, scripts/api.py). Forge has no such route,
    and the limit among its settings only where that was changed (sd_forge_controlnet,
    scripts/controlnet.py); both have three units by default.
    """
    maximum = DEFAULT_UNITS
    for path in ("/controlnet/settings", "/sdapi/v1/options"):
        reported = mapping(await client.courtesy(path)).get("control_net_unit_count")
        if count(reported):
            maximum = count(reported)
            break
    if number > maximum:
        raise BadInput(
            f"{client.server.name} is set up for {maximum} control pictures at once, and there "
            f"are {number}. Raise the number of ControlNet units in its settings, or take some "
            "away."
        )


def _resolve_module(client: Client, module: Module, modules: list[str] | None) -> str:
    """Return the server's name of a module, the usual one if the server lists none."""
    if modules is None:
        return module.names[0]
    name = _first_known(module.names, modules)
    if name is None:
        raise BadInput(
            f"{client.server.name} has no ControlNet preprocessor {module.names[0]}. "
            f"{nearest(module.names[0], modules)}"
        )
    return name


async def _resolve_network(
    client: Client, model: Model, control: Control, wanted: str, networks: list[str]
) -> str:
    """Return the network that is `wanted`, or the one that matches where `wanted` is ""."""
    module = select_module(control.preprocessor, control.parameters)
    if wanted:
        network = next((each for each in networks if _is_same_network(each, wanted)), None)
    else:
        network = await _matching_network(client, model, module, networks)
    if network is None:
        sought = wanted or f"for {control.preprocessor}"
        raise BadInput(
            f"{client.server.name} has no ControlNet model {sought}. Name one of its own in the "
            f"options. {nearest(wanted or control.preprocessor, networks)}"
        )
    return network


def _build_unit(control: Control, module: Module) -> dict[str, Any]:
    start, end = span(control)
    unit: dict[str, Any] = {
        "enabled": True,
        "weight": min(max(control.weight, 0.0), 2.0),
        "guidance_start": start,
        "guidance_end": end,
        # As in the local backend: the map is resized to the generation's size, whatever its shape.
        "resize_mode": "Just Resize",
        "pixel_perfect": True,
        "control_mode": "Balanced",
        "save_detected_map": False,
    }
    for key, parameter in (
        ("threshold_a", module.threshold_a),
        ("threshold_b", module.threshold_b),
    ):
        value = _parse_number(control.parameters.get(parameter)) if parameter else None
        if value is not None:
            unit[key] = value
    return unit


def _ignored_note(control: Control, module: Module) -> str:
    """Return a note on the parameters that were set and have no counterpart on the server."""
    from backends.preprocessors import PREPROCESSORS

    known = PREPROCESSORS.get(control.preprocessor)
    taken = {module.threshold_a, module.threshold_b, *module.flags}
    ignored = [
        parameter.label
        for parameter in (known.parameters if known else ())
        if parameter.name not in taken
        and control.parameters.get(parameter.name, parameter.default) != parameter.default
    ]
    if not 0.0 <= control.weight <= 2.0:
        ignored.append(f"a weight of {control.weight:g} (at most 2)")
    return f"{', '.join(ignored)} ignored: the server's ControlNet takes none" if ignored else ""


async def _matching_network(
    client: Client, model: Model, module: Module, networks: list[str]
) -> str | None:
    """Return the network whose name matches the module, of the checkpoint's size if possible."""
    fit = [each for each in networks if re.search(module.model_pattern, each, re.IGNORECASE)]
    if len(fit) < 2:
        return next(iter(fit), None)
    checkpoint = model.source
    if checkpoint == CURRENT_CHECKPOINT:
        settings = mapping(await client.courtesy("/sdapi/v1/options"))
        checkpoint = str(settings.get("sd_model_checkpoint") or "")
    return of_size(fit, checkpoint)


def _name_list(answer: object, key: str) -> list[str] | None:
    match mapping(answer).get(key):
        case [*names]:
            return [str(name) for name in names]
        case _:
            return None


def _first_known(wanted: tuple[str, ...], known: list[str]) -> str | None:
    lowered = {each.lower(): each for each in known}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _is_same_network(known: str, wanted: str) -> bool:
    """Compare two names of networks; servers append a hash in brackets to theirs."""
    bare = re.sub(r"\s*\[\w+\]$", "", known)
    return wanted.strip().lower() in (known.lower(), bare.lower())


def _parse_number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError as error:
        raise BadInput(f"{value} is no number. Change the preprocessor's settings.") from error
