"""What jobs on a ComfyUI server of the tests meet, and what kind of server it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a job meets. `status`, `raw`, `headers`, `hang`, `cut` and `drip` are about the answer
    to `POST /prompt`, the others about what happens to a prompt that was taken.

    `delay` is how long the sampler takes. `fault` ends it with an `execution_error`, `picture`
    takes the place of each file that was saved, `nameless` leaves their names out. `drop` closes
    the websocket at that step, `leave` forgets the whole prompt there.
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
        """Whether the prompt is not taken: this is the answer to it."""
        return self.status is not None or self.raw is not None or self.hang


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A server's age and what it has; `ids` says whether it takes a prompt's id from outside."""

    ids: bool = True
    targeted: bool = True
    lists: bool = True
    sockets: bool = True
    stamps: bool = True
    states_only: bool = False
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
