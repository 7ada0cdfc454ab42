"""Scripts for requests to the fake A1111 server, and the kinds of servers that it can be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to one generation; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after that many bytes of the response, `drip` sends it byte by byte.
    `grid` puts a grid in front of the pictures, `maps` that many ControlNet maps behind them;
    `pictures` replaces the generated ones, `fewer` leaves out that many.
    """

    delay: float = 0.0
    hang: bool = False
    status: int | None = None
    raw: bytes | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: int | None = None
    drip: float = 0.0
    grid: bool = False
    maps: int = 0
    pictures: tuple[bytes, ...] | None = field(default=None, repr=False)
    fewer: int = 0
    info: Mapping[str, object] | None = field(default_factory=dict[str, object])
    time: str | None = None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The features of a server: AUTOMATIC1111 with ControlNet, unless some are removed.

    `tasks` says whether it tracks jobs of the API by task id, `route` whether it has that route at
    all, `phases` whether each phase of a job is one of its own in the global state, as on SD.Next.
    `schedules` says whether it knows schedule types, `names_model` whether its responses name the
    checkpoint outside of the infotexts, `infotexts` whether they have those.
    `units` is the limit of ControlNet units that it reports, `settings_units` the one among its
    settings; None where it reports none. `loras` and `hypernetworks` are the names that it lists,
    None where there is no such route: LoRA is a built-in extension, which can be disabled.
    `broken` are responses to single paths, in place of the proper ones.
    """

    tasks: bool = True
    route: bool = True
    phases: bool = False
    schedules: bool = True
    names_model: bool = True
    infotexts: bool = True
    units: int | None = 3
    settings_units: int | None = None
    loras: tuple[str, ...] | None = None
    hypernetworks: tuple[str, ...] | None = None
    broken: Mapping[str, Script] = field(default_factory=dict[str, Script])
    checkpoints: tuple[str, ...] = ("v1-5-pruned-emaonly", "sd_xl_base_1.0", "anime/dreamy_v2")
    samplers: tuple[str, ...] = ("DPM++ 2M", "Euler a", "DDIM")
    modules: tuple[str, ...] | None = (
        "none",
        "canny",
        "depth_midas",
        "softedge_hed",
        "softedge_hedsafe",
        "openpose",
        "openpose_hand",
        "lineart_anime",
        "lineart_realistic",
        "lineart_standard (from white bg & black line)",
        "shuffle",
        "mlsd",
    )
    networks: tuple[str, ...] = (
        "None",
        "diffusers_xl_canny_full [2b69fca4]",
        "control_v11p_sd15_canny [d14c016b]",
        "control_v11f1p_sd15_depth [cfd03158]",
        "control_v11p_sd15_softedge [a8575a2a]",
        "control_v11p_sd15s2_lineart_anime [3825e83e]",
        "control_v11p_sd15_lineart [43d4be0d]",
        "control_v11p_sd15_openpose [cab727d4]",
    )


def json_script(answer: object, status: int = 200) -> Script:
    """Return a script that answers with that JSON."""
    return Script(status=status, raw=json.dumps(answer).encode())


FORGE = Kind(units=None)
"""Forge: no route for the limit of units, and the setting itself only where it was changed."""
SDNEXT = Kind(
    tasks=False,
    phases=True,
    schedules=False,
    names_model=False,
    units=None,
    loras=("glow_v2", "pixel art"),
    modules=None,
    broken={"/sdapi/v1/schedulers": json_script({"error": "ResponseValidationError"}, 500)},
)
"""SD.Next of July 2026: global state in phases, no task ids, no schedule types."""
