"""Scripts for jobs on the fake ComfyUI server, and the kinds of servers that it can be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to one job.

    `status`, `raw`, `headers`, `hang`, `cut` and `drip` are about the response to `POST /prompt`,
    the others about a prompt that was accepted. `delay` is the duration of sampling in seconds.
    `fault` ends it with an `execution_error`, `picture` replaces each saved file, `nameless` leaves
    out their names. `drop` closes the websocket at that step, `leave` forgets the whole prompt
    there.
    """

    delay: float = 0.0
    status: int | None = None
    raw: bytes | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hang: bool = False
    cut: int | None = None
    drip: float = 0.0
    fault: Mapping[str, Any] | None = None
    picture: bytes | None = None
    nameless: bool = False
    drop: int | None = None
    leave: int | None = None

    @property
    def answers(self) -> bool:
        """True if the prompt is not accepted and the script gives the response."""
        return self.status is not None or self.raw is not None or self.hang


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A server's age and models; `ids` says whether it accepts a prompt id from the client.

    `wording` is the year of its sentence for a node that does not exist.
    """

    ids: bool = True
    targeted: bool = True
    lists: bool = True
    sockets: bool = True
    stamps: bool = True
    states_only: bool = False
    wording: int = 2026
    loras: tuple[str, ...] = ("styles/ink-wash.safetensors", "Detail_Tweaker.safetensors")
    checkpoints: tuple[str, ...] = (
        "v1-5-pruned-emaonly.safetensors",
        "sd_xl_base_1.0.safetensors",
        "anime/dreamy_v2.ckpt",
    )
    networks: tuple[str, ...] = (
        "diffusers_xl_canny_full.safetensors",
        "control_v11p_sd15_canny.pth",
        "control_v11f1p_sd15_depth.pth",
    )
    samplers: tuple[str, ...] = ("euler", "dpmpp_2m", "ddim")
    schedulers: tuple[str, ...] = ("normal", "karras")
