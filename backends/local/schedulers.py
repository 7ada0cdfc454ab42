"""The schedulers that can be chosen, by their usual names, and how one is created.

A name stands for the same sampling method with every model. Diffusion models, trained on a schedule
of betas, and flow models, which interpolate linearly between noise and data, need different classes
for it; the table holds both. It is plain data: the form needs no torch.

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
    """A name with its class for diffusion models and for flow models; "" where there is none."""

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

# Flow models have no DEIS, which leaves noise in their pictures, and no ancestral or SDE sampler:
# their pipelines do not pass the generator on, so pictures could not be reproduced (0.42.1).
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
SCHEDULER_NAMES: Final = tuple(scheduler.name for scheduler in SCHEDULERS)

# Settings of the model's scheduler that another spacing of noise levels must not inherit.
_DEFAULT_SPACING: Final = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
}


def make_scheduler(original: Any, name: str, label: str) -> Any:
    """Return a new scheduler of the kind `name` with the settings of `original`.

    "" stands for the class of `original`; the name of a diffusers class is accepted too.

    Raises:
        BadInput: the model cannot work with it; the message lists the possible ones.
    """
    if name in ("", type(original).__name__):
        return type(original).from_config(original.config)
    flow, choices = _is_flow(original), dict(_choices(original))
    row = next(
        (
            row
            for row, kind in choices.items()
            if name.lower() in (row.name.lower(), kind.__name__.lower())
        ),
        None,
    )
    if row is None:
        known = ", ".join(choice.name for choice in choices)
        raise BadInput(
            f"{label} cannot work with the scheduler {name}. "
            + (f"Choose one of {known}." if known else "It has only its own: choose none.")
        )
    scheduler_class, settings = choices[row], {**_DEFAULT_SPACING, **dict(row.settings)}
    if flow:
        shift = original.config.get("shift") or original.config.get("flow_shift") or 1.0
        settings |= {"shift": shift, "flow_shift": shift}
        settings |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    accepted = inspect.signature(scheduler_class).parameters
    settings = {name: value for name, value in settings.items() if name in accepted}
    scheduler = scheduler_class.from_config(original.config, **settings)
    return _adapt_to_flow_pipelines(scheduler) if flow else scheduler


def _choices(original: Any) -> Iterator[tuple[Scheduler, Any]]:
    """Yield the schedulers that can replace `original`, each with its class."""
    flow = _is_flow(original)
    if not flow and "beta_schedule" not in original.config:
        return  # token models and consistency models have no alternatives
    diffusers = importlib.import_module("diffusers")
    for row in SCHEDULERS:
        scheduler_class = getattr(diffusers, row.flow if flow else row.diffusion, None)
        if scheduler_class is None:
            continue
        if original.config.get("use_dynamic_shifting") and (
            "use_dynamic_shifting" not in inspect.signature(scheduler_class).parameters
        ):
            continue  # it would use the shift of the smallest size for all
        if original.config.get("rescale_betas_zero_snr") and (
            "rescale_betas_zero_snr" not in inspect.signature(scheduler_class).parameters
        ):
            continue  # it would never reach the noise that the model was trained to begin with
        yield row, scheduler_class


def _is_flow(scheduler: Any) -> bool:
    config = scheduler.config
    return type(scheduler).__name__.startswith("FlowMatch") or bool(config.get("use_flow_sigmas"))


def _adapt_to_flow_pipelines(scheduler: Any) -> Any:
    """Adapt the methods of `scheduler` to the calls of flow-model pipelines.

    These pass evenly spaced sigmas and the shift `mu` for the picture's size to every scheduler:
    one that computes its own sigmas, or has a fixed shift, would raise. They also call
    `scale_noise` instead of `add_noise` to add noise to an initial picture.
    """
    original: Callable[..., None] = scheduler.set_timesteps
    accepted = set(inspect.signature(original).parameters)
    if not scheduler.config.get("use_dynamic_shifting"):
        accepted -= {"mu"}

    def set_timesteps(
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        if sigmas is not None and "sigmas" not in accepted:
            num_inference_steps = len(sigmas)
        given = {"sigmas": sigmas, "mu": mu, "timesteps": timesteps}
        supported = {
            name: value for name, value in given.items() if value is not None and name in accepted
        }
        original(num_inference_steps, device=device, **supported)

    def scale_noise(sample: Any, timestep: Any, noise: Any) -> Any:
        return scheduler.add_noise(sample, noise, timestep)

    scheduler.set_timesteps = set_timesteps
    if not hasattr(scheduler, "scale_noise"):
        scheduler.scale_noise = scale_noise
    return scheduler
