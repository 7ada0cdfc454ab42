"""Options for speed: torch.compile, attention kernels, step caches, processor threads.

    compile      once, when the model is loaded; changes the last digits
    attention    which of torch's kernels computes attention; changes the last digits
    step_cache   skips work that would change little; changes the picture a little

The kernel is a preference: flash attention, for example, does not support a text encoder's
attention mask. torch keeps the choice for the whole process: with several active devices, the
pictures of the others may differ in the last digits too. Threads are chosen by the model's size.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from torch.nn.attention import SDPBackend, sdpa_kernel

from backends.base import Applied
from backends.errors import BadInput
from backends.local.job import LocalJob
from backends.local.memory.devices import Device
from backends.local.memory.offload import denoisers
from backends.local.options import ATTENTIONS, STEP_CACHES
from backends.threads import available_cores, is_user_choice, thread_count

_KERNELS: Final = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
_SUPPORTED_KERNELS: Final = {"cuda": frozenset(_KERNELS), "cpu": {"flash", "math"}, "mps": {"math"}}
# The relative change of the first block's output below which the other blocks are skipped; the
# value that the guide of diffusers recommends for quality.
_FIRST_BLOCK_THRESHOLD: Final = 0.05
_INITIAL_THREADS: Final = torch.get_num_threads()


def compile_denoisers(pipeline: Any, label: str) -> dict[str, Applied]:
    """Mark the denoisers of `pipeline` for compilation at first use; return what was ignored."""
    modules: list[Any] = [*denoisers(pipeline)]
    for part in modules:
        if getattr(part, "_repeated_blocks", None):
            part.compile_repeated_blocks()  # one compilation for all equal blocks saves minutes
        else:
            part.compile()
    return {} if modules else _ignored("compile", True, label, "it has no denoiser")


@contextmanager
def acceleration(pipeline: Any, job: LocalJob, device: Device) -> Generator[dict[str, Applied]]:
    """Enable the options that `job` requests, for one run; yield those that were ignored."""
    label, ignored = job.spec.label, dict[str, Applied]()
    with ExitStack() as stack:
        if job.attention:
            if job.attention not in ATTENTIONS:
                raise BadInput(
                    f"There is no attention kernel '{job.attention}'. "
                    f"Choose one of {', '.join(ATTENTIONS[1:])}."
                )
            if job.attention in _SUPPORTED_KERNELS[device.kind]:
                order = [_KERNELS[job.attention], SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
                stack.enter_context(sdpa_kernel(order, set_priority=True))
            else:
                note = f"attention kernel ignored: torch has no '{job.attention}' on {device.kind}"
                ignored["attention"] = Applied(job.attention, None, note)
        if job.step_cache:
            if job.step_cache not in STEP_CACHES:
                raise BadInput(
                    f"There is no step cache '{job.step_cache}'. "
                    f"Choose one of {', '.join(STEP_CACHES[1:])}."
                )
            ignored |= stack.enter_context(_step_cache(pipeline, job.step_cache, label))
        yield ignored


@contextmanager
def processor_threads(
    parameters: int,
    device: Device,
    *,
    initial: int = _INITIAL_THREADS,
    environment: Mapping[str, str] = os.environ,
) -> Generator[None]:
    """Compute with as many processor threads as suit a model of so many parameters, for one run.

    Nothing changes where the user chose their number, of which torch has `initial` at first, or
    where the model is not on the processor.
    """
    if device.kind != "cpu" or is_user_choice(initial, environment):
        yield
        return
    cores = available_cores()
    torch.set_num_threads(thread_count(parameters, cores))
    try:
        yield
    finally:
        # New threads of the process begin with what was set last, in whatever thread.
        torch.set_num_threads(min(initial, cores))


@contextmanager
def _step_cache(pipeline: Any, name: str, label: str) -> Generator[dict[str, Applied]]:
    modules: list[Any] = [part for part in denoisers(pipeline) if hasattr(part, "enable_cache")]
    if not modules:
        yield _ignored("step_cache", name, label, "diffusers has none for this kind of model")
        return
    enabled: list[Any] = []
    try:
        for part in modules:
            part.enable_cache(_cache_config(name, part.dtype))
            enabled.append(part)
        yield {}
    finally:
        for part in enabled:
            part.disable_cache()  # and drop its state of this run


def _cache_config(name: str, dtype: torch.dtype) -> Any:
    if name == "first block":
        return FirstBlockCacheConfig(threshold=_FIRST_BLOCK_THRESHOLD)
    return TaylorSeerCacheConfig(taylor_factors_dtype=dtype)


def _ignored(name: str, requested: str | bool, label: str, reason: str) -> dict[str, Applied]:
    noun = name.replace("_", " ")
    return {name: Applied(requested, None, f"{noun} ignored: {label} takes none, {reason}")}
