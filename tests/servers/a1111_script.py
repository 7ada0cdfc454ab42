"""What one generation on the A1111 server meets, and what kind of server it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Script:
    """What one generation meets; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after so many bytes of the answer, `drip` sends it byte by byte.
    `grid` puts a grid in front of the pictures, `maps` as many maps of ControlNet behind them;
    `pictures` sends these instead of drawn ones, `fewer` leaves out so many.
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
    """What a server knows: AUTOMATIC1111 with ControlNet, unless something is taken away.

    `tasks` says whether it knows jobs by their id, `route` whether it has a route for that at all,
    `names_model` whether its answers say which checkpoint drew. `units` is how many units of
    ControlNet it is set up for, None where it does not tell.
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
