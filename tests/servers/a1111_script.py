"""Scripts for requests to the fake A1111 server, and the kinds of servers that it can be."""

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

    `tasks` says whether it tracks jobs by task id, `route` whether it has that route at all,
    `names_model` whether its responses name the checkpoint. `units` is its limit of ControlNet
    units, None where it does not report one.
    """

    tasks: bool = True
    route: bool = True
    schedules: bool = True
    names_model: bool = True
    units: int | None = 3
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
