"""Switches for speed: what can be turned on for a model, and what is said where it cannot.

    compile      once, when the model is loaded; changes last digits
    attention    which of torch's kernels computes attention; changes last digits
    step_cache   leaves out work that would change little; changes the picture a little

The kernel is the first choice and not the only one: a text encoder's attention mask, say, is
nothing for flash attention. It is chosen for the whole process (torch keeps it so): with several
devices at work, the other ones' pictures may differ in last digits too.
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
_HAS: Final = {"cuda": frozenset(_KERNELS), "cpu": {"flash", "math"}, "mps": {"math"}}
# The relative change of the first block's output below which the others are left out; the value
# that diffusers' guide recommends for quality.
_THRESHOLD: Final = 0.05
_INITIAL_THREADS: Final = torch.get_num_threads()


def compiled(pipeline: Any, label: str) -> dict[str, Applied]:
    """Let the denoiser of `pipeline` be compiled when it is first used; say what was ignored."""
    found: list[Any] = [*denoisers(pipeline)]
    for part in found:
        if getattr(part, "_repeated_blocks", None):
            part.compile_repeated_blocks()  # one block for all of its kind: minutes less
        else:
            part.compile()
    return {} if found else _ignored("compile", True, label, "it has no denoiser")


@contextmanager
def acceleration(pipeline: Any, work: LocalJob, device: Device) -> Generator[dict[str, Applied]]:
    """Turn on what `work` asks for, for one run; yields what of it was ignored."""
    label, ignored = work.spec.label, dict[str, Applied]()
    with ExitStack() as stack:
        if work.attention:
            if work.attention not in ATTENTIONS:
                raise BadInput(
                    f"There is no attention kernel '{work.attention}'. "
                    f"Choose one of {', '.join(ATTENTIONS[1:])}."
                )
            if work.attention in _HAS[device.kind]:
                order = [_KERNELS[work.attention], SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
                stack.enter_context(sdpa_kernel(order, set_priority=True))
            else:
                note = f"attention kernel ignored: torch has no '{work.attention}' on {device.kind}"
                ignored["attention"] = Applied(work.attention, None, note)
        if work.step_cache:
            if work.step_cache not in STEP_CACHES:
                raise BadInput(
                    f"There is no step cache '{work.step_cache}'. "
                    f"Choose one of {', '.join(STEP_CACHES[1:])}."
                )
            ignored |= stack.enter_context(_cached(pipeline, work.step_cache, label))
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
def _cached(pipeline: Any, name: str, label: str) -> Generator[dict[str, Applied]]:
    parts: list[Any] = [part for part in denoisers(pipeline) if hasattr(part, "enable_cache")]
    if not parts:
        yield _ignored("step_cache", name, label, "diffusers has none for this kind of model")
        return
    on: list[Any] = []
    try:
        for part in parts:
            part.enable_cache(_cache(name, part.dtype))
            on.append(part)
        yield {}
    finally:
        for part in on:
            part.disable_cache()  # with whatever it kept of this run


def _cache(name: str, dtype: torch.dtype) -> Any:
    if name == "first block":
        return FirstBlockCacheConfig(threshold=_THRESHOLD)
    return TaylorSeerCacheConfig(taylor_factors_dtype=dtype)


def _ignored(name: str, asked: str | bool, label: str, why: str) -> dict[str, Applied]:
    words = name.replace("_", " ")
    return {name: Applied(asked, None, f"{words} ignored: {label} takes none, {why}")}
