"""Control pictures, as the ControlNet extension of an AUTOMATIC1111 server takes them.

Lineup's preprocessors in the words of the ControlNet extension, as plain data.
"""

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from backends.a1111.client import Client
from backends.a1111.request import CURRENT_CHECKPOINT, ApiRequest
from backends.base import Applied, Control, Model, Value
from backends.errors import BadInput
from backends.images.inputs import network_for, of_size, span, upright_png
from backends.wording import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """One way to make a map on the server.

    `names` are what servers call it, `model` is a pattern for the names of the ControlNet models
    that want such maps. `first` and `second` name the parameters that the extension calls
    threshold_a and threshold_b, `flags` those that are part of the name.
    """

    names: tuple[str, ...]
    model_pattern: str
    threshold_a: str = ""
    threshold_b: str = ""
    flags: frozenset[str] = frozenset()


_INVERT: Final = "invert (from white bg & black line)"
_STANDARD: Final = "lineart_standard (from white bg & black line)"
_SOFT_EDGE: Final = "softedge|hed"
_LINE_ART: Final = "lineart(?!_anime)"


def _flags(*names: str) -> frozenset[str]:
    return frozenset(names)


# The first of a preprocessor's modules whose flags are all set is taken.
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
    """Return the module for a preprocessor; a name of the server's own stands for itself."""
    for module in MODULES.get(preprocessor, ()):
        if all(parameters.get(flag) for flag in module.flags):
            return module
    return Module(names=(preprocessor,), model_pattern=preprocessor.partition("_")[0])


async def add_controls(wire: Client, model: Model, call: ApiRequest) -> None:
    """Put the controls of `call` into its body: a unit of the extension for each.

    Raises:
        BadInput: the server lacks the extension or what a control picture needs of it, or the
            picture cannot be read. A picture without its control is not what was asked for.
    """
    server = wire.server.name
    models = _name_list(await wire.optional("/controlnet/model_list"), "model_list")
    modules = _name_list(
        await wire.optional("/controlnet/module_list?alias_names=true"), "module_list"
    )
    if models is None or modules is None:
        raise BadInput(
            f"{server} has no ControlNet extension. Install it there, or take the control "
            "picture away."
        )
    await _check_unit_count(wire, len(call.controls))
    networks = [each for each in models if each.lower() != "none"]
    units: list[dict[str, Any]] = []
    for place, (name, control) in enumerate(call.controls.items()):
        wanted = network_for(place, call.options.control_model)
        listed = model.controls.get(control.preprocessor) or model.controls.get("*") or ""
        module = select_module(control.preprocessor, control.parameters)
        unit = _build_unit(control, module)
        unit["module"] = _resolve_module(wire, module, modules)
        unit["model"] = await _resolve_network(wire, model, control, wanted or listed, networks)
        picture = await asyncio.to_thread(upright_png, control.image)
        unit["image"] = base64.b64encode(picture).decode()
        units.append(unit)
        call.honoured[name] = Applied(
            control.preprocessor,
            f"{unit['module']} with {unit['model']}",
            _ignored_note(control, module),
        )
    call.body["alwayson_scripts"] = {"controlnet": {"args": units}}


async def _check_unit_count(wire: Client, number: int) -> None:
    """Refuse more units than the server is set up for: it would leave them out without a word.

    The extension tells the number (sd-webui-controlnet, scripts/api.py); where it does not, the
    server is believed to take them all.
    """
    settings = await wire.optional("/controlnet/settings")
    match settings:
        case {"control_net_unit_count": int(most)} if number > most:
            raise BadInput(
                f"{wire.server.name} is set up for {most} control pictures at once, and there are "
                f"{number}. Raise the number of ControlNet units in its settings, or take some "
                "away."
            )
        case _:
            return


def _resolve_module(wire: Client, module: Module, modules: list[str]) -> str:
    name = _first_known(module.names, modules)
    if name is None:
        raise BadInput(
            f"{wire.server.name} has no ControlNet preprocessor {module.names[0]}. "
            f"{nearest(module.names[0], modules)}"
        )
    return name


async def _resolve_network(
    wire: Client, model: Model, control: Control, wanted: str, networks: list[str]
) -> str:
    """The network that is `wanted`, or the one that fits where that is ""."""
    module = select_module(control.preprocessor, control.parameters)
    if wanted:
        network = next((each for each in networks if _is_same_network(each, wanted)), None)
    else:
        network = await _matching_network(wire, model, module, networks)
    if network is None:
        looked = wanted or f"for {control.preprocessor}"
        raise BadInput(
            f"{wire.server.name} has no ControlNet model {looked}. Name one of its own in the "
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
        # As on this machine: the map gets the generation's size, whatever its shape was.
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
    """A note about what was set and has no counterpart on the server."""
    from backends.preprocessors import PREPROCESSORS

    known = PREPROCESSORS.get(control.preprocessor)
    taken = {module.threshold_a, module.threshold_b, *module.flags}
    lost = [
        parameter.label
        for parameter in (known.parameters if known else ())
        if parameter.name not in taken
        and control.parameters.get(parameter.name, parameter.default) != parameter.default
    ]
    if not 0.0 <= control.weight <= 2.0:
        lost.append(f"a weight of {control.weight:g} (at most 2)")
    return f"{', '.join(lost)} ignored: the server's ControlNet takes none" if lost else ""


async def _matching_network(
    wire: Client, model: Model, module: Module, networks: list[str]
) -> str | None:
    """The network whose name says that it wants such maps, of the checkpoint's size if possible."""
    fit = [each for each in networks if re.search(module.model_pattern, each, re.IGNORECASE)]
    if len(fit) < 2:
        return next(iter(fit), None)
    checkpoint = model.source
    if checkpoint == CURRENT_CHECKPOINT:
        checkpoint = str((await wire.get("/sdapi/v1/options")).get("sd_model_checkpoint") or "")
    return of_size(fit, checkpoint)


def _name_list(answer: object, key: str) -> list[str] | None:
    if not isinstance(answer, dict):
        return None
    listed = cast(Mapping[str, object], answer).get(key)
    return [str(each) for each in cast(list[object], listed)] if isinstance(listed, list) else None


def _first_known(wanted: tuple[str, ...], known: list[str]) -> str | None:
    lowered = {each.lower(): each for each in known}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _is_same_network(known: str, wanted: str) -> bool:
    """Whether two names mean one network; servers put a hash behind theirs."""
    bare = re.sub(r"\s*\[\w+\]$", "", known)
    return wanted.strip().lower() in (known.lower(), bare.lower())


def _parse_number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError as error:
        raise BadInput(f"{value} is no number. Change the preprocessor's settings.") from error
