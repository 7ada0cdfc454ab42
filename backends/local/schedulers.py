"""The schedulers to choose from, under the names that people know, and how one is made.

A name means the same way of taking noise away for every model. Models that were trained on noise
levels (betas) and flow models, whose noise is mixed in along a straight line, need different
classes for it; the table says which. It is plain data: a form needs no torch to be drawn.

Names and classes as diffusers matches them to those of k-diffusion and the Stable Diffusion web UI:
https://huggingface.co/docs/diffusers/api/schedulers/overview
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from backends.errors import BadInput


@dataclass(frozen=True, slots=True)
class Scheduler:
    """One name: its class for models of noise levels, and for flow models; "" where none is."""

    name: str
    diffusion: str = ""
    flow: str = ""
    settings: tuple[tuple[str, bool | str], ...] = ()


_KARRAS: Final = (("use_karras_sigmas", True),)
_BETA: Final = (("use_beta_sigmas", True),)
_SDE: Final = (("algorithm_type", "sde-dpmsolver++"),)
_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_SINGLESTEP: Final = "DPMSolverSinglestepScheduler"
_EULER: Final = "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"

# Flow models have no DEIS, which leaves noise in their pictures, and none that throws noise anew:
# their pipelines do not hand on the seed, so that no picture could be drawn again (0.42.1).
SCHEDULERS: Final = (
    Scheduler("Euler", *_EULER),
    Scheduler("Euler Karras", *_EULER, _KARRAS),
    Scheduler("Euler beta", *_EULER, _BETA),
    Scheduler("Euler a", "EulerAncestralDiscreteScheduler"),
    Scheduler("Heun", "HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
    Scheduler("DPM++ 2M", _MULTISTEP, _MULTISTEP),
    Scheduler("DPM++ 2M Karras", _MULTISTEP, "", _KARRAS),
    Scheduler("DPM++ 2M SDE", _MULTISTEP, "", _SDE),
    Scheduler("DPM++ 2M SDE Karras", _MULTISTEP, "", (*_SDE, *_KARRAS)),
    Scheduler("DPM++ 2S", _SINGLESTEP, _SINGLESTEP, (("lower_order_final", True),)),
    Scheduler("DPM2", "KDPM2DiscreteScheduler"),
    Scheduler("DPM2 Karras", "KDPM2DiscreteScheduler", "", _KARRAS),
    Scheduler("DPM2 a", "KDPM2AncestralDiscreteScheduler"),
    Scheduler("UniPC", "UniPCMultistepScheduler", "UniPCMultistepScheduler"),
    Scheduler("DEIS", "DEISMultistepScheduler"),
    Scheduler("SA-Solver", "SASolverScheduler"),
    Scheduler("LMS", "LMSDiscreteScheduler"),
    Scheduler("LMS Karras", "LMSDiscreteScheduler", "", _KARRAS),
    Scheduler("PLMS", "PNDMScheduler", "", (("skip_prk_steps", True),)),
    Scheduler("DDIM", "DDIMScheduler"),
    Scheduler("DDPM", "DDPMScheduler"),
    Scheduler("LCM", "LCMScheduler"),
    Scheduler("TCD", "TCDScheduler"),
)
NAMES: Final = tuple(scheduler.name for scheduler in SCHEDULERS)

# The model's own scheduler may have been made with another spacing of its noise levels.
_PLAIN: Final = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
}


def make_scheduler(own: Any, wanted: str, label: str) -> Any:
    """Return an unused scheduler with the settings of `own`, of the kind called `wanted`.

    "" is the model's own kind; a class of diffusers may be named too.

    Raises:
        BadInput: the model cannot work with it; the sentence lists what it can.
    """
    if wanted in ("", type(own).__name__):
        return type(own).from_config(own.config)
    flow, choices = _is_flow(own), dict(_choices(own))
    row = next(
        (
            row
            for row, kind in choices.items()
            if wanted.lower() in (row.name.lower(), kind.__name__.lower())
        ),
        None,
    )
    if row is None:
        known = ", ".join(choice.name for choice in choices)
        raise BadInput(
            f"{label} cannot work with the scheduler {wanted}. "
            + (f"Choose one of {known}." if known else "It has only its own: choose none.")
        )
    kind, settings = choices[row], {**_PLAIN, **dict(row.settings)}
    if flow:
        shift = own.config.get("shift") or own.config.get("flow_shift") or 1.0
        settings |= {"shift": shift, "flow_shift": shift}
        settings |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    takes = inspect.signature(kind).parameters
    settings = {name: value for name, value in settings.items() if name in takes}
    made = kind.from_config(own.config, **settings)
    return _obliging(made) if flow else made


def _choices(own: Any) -> Iterator[tuple[Scheduler, Any]]:
    """Everything that can stand in for `own`, with its class."""
    flow = _is_flow(own)
    if not flow and "beta_schedule" not in own.config:
        return  # of a family of its own: tokens, consistency models
    diffusers = importlib.import_module("diffusers")
    for row in SCHEDULERS:
        kind = getattr(diffusers, row.flow if flow else row.diffusion, None)
        if kind is None:
            continue
        if own.config.get("use_dynamic_shifting") and (
            "use_dynamic_shifting" not in inspect.signature(kind).parameters
        ):
            continue  # it would draw as if every size were the smallest
        yield row, kind


def _is_flow(own: Any) -> bool:
    config = own.config
    return type(own).__name__.startswith("FlowMatch") or bool(config.get("use_flow_sigmas"))


def _obliging(scheduler: Any) -> Any:
    """Let `scheduler` answer what pipelines of flow models ask of it.

    They hand over evenly spaced noise levels and the shift of the picture's size, whatever the
    scheduler: one that spaces its levels itself, or was made for one shift, would end the run.
    And they have a word of their own for mixing noise into a picture to start from.
    """
    given: Callable[..., None] = scheduler.set_timesteps
    takes = set(inspect.signature(given).parameters)
    if not scheduler.config.get("use_dynamic_shifting"):
        takes -= {"mu"}

    def set_timesteps(
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        if sigmas is not None and "sigmas" not in takes:
            num_inference_steps = len(sigmas)
        told = {"sigmas": sigmas, "mu": mu, "timesteps": timesteps}
        kept = {name: value for name, value in told.items() if value is not None and name in takes}
        given(num_inference_steps, device=device, **kept)

    def scale_noise(sample: Any, timestep: Any, noise: Any) -> Any:
        return scheduler.add_noise(sample, noise, timestep)

    scheduler.set_timesteps = set_timesteps
    if not hasattr(scheduler, "scale_noise"):
        scheduler.scale_noise = scale_noise
    return scheduler
