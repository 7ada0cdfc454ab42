"""What every training stage shares: a fast copy, averaged weights, a schedule, and resuming.

Forward and backward run on a copy of the model in the type that the processor is fastest in (see
`precision.py`); the optimizer works on fp32 masters, and what is exported is their
exponential moving average.
"""

import copy
import ctypes
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn

from backends.miniatures.training.loop.muon import Muon
from backends.miniatures.training.loop.precision import fast_type

CHECKPOINTS: Final = Path("data/training")
"""Checkpoints and caches, kept out of git; one may delete it at any time."""

CHECKPOINT_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training: its checkpoint's name, its length in steps, its learning rate."""

    name: str
    steps: int
    rate: float


class Trainer:
    """A model under training: `masters` in fp32, `fast` in `fast_type()`, `average` for export.

    Parameters whose name starts with `slow_group[0]` learn at `slow_group[1]` times the rate; the weight
    matrices of what `matrices` names learn by Muon, everything else by AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: float,
        decay: float = 0.01,
        average: float = 0.999,
        slow_group: tuple[str, float] = ("", 1.0),
        matrices: str | None = None,
    ) -> None:
        self.masters = model.float()
        self.fast = copy.deepcopy(self.masters).to(fast_type())
        self.average = copy.deepcopy(self.masters).requires_grad_(False)
        self.smoothing = average
        self.trained = [p for p in self.masters.parameters() if p.requires_grad]
        self._fast = [p for p in self.fast.parameters() if p.requires_grad]
        self._averaged = [
            theirs
            for theirs, ours in zip(
                self.average.parameters(), self.masters.parameters(), strict=True
            )
            if ours.requires_grad
        ]
        self.optimizers = _optimizers(self.masters, rate, decay, slow_group, matrices)
        self._rates = [
            [float(group["lr"]) for group in optimizer.param_groups]
            for optimizer in self.optimizers
        ]
        self.step_number = 0

    def update(self, loss: torch.Tensor, share_done: float) -> float:
        """One optimizer step; `share_done` (0 to 1) sets the learning rate. Returns the loss."""
        loss.backward()
        for master, fast in zip(self.trained, self._fast, strict=True):
            if fast.grad is not None:
                master.grad = fast.grad.float()
                fast.grad = None
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _schedule(self.step_number, share_done)
            optimizer.step()
        self.step_number += 1
        with torch.no_grad():
            for fast, master in zip(self._fast, self.trained, strict=True):
                fast.copy_(master)
            # Early on the average follows fast, so that it never drags the random start along.
            smoothing = min(self.smoothing, self.step_number / (self.step_number + 10))
            for average, master in zip(self._averaged, self.trained, strict=True):
                average.lerp_(master, 1 - smoothing)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that is needed to go on later."""
        return {
            "masters": self.masters.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step_number,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.masters.load_state_dict(state["masters"])
        self.fast.load_state_dict(state["masters"])
        self.average.load_state_dict(state["average"])
        for optimizer, memory in zip(self.optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(memory)
        self.step_number = int(state["step"])


def _optimizers(
    model: nn.Module, rate: float, decay: float, slow_group: tuple[str, float], matrices: str | None
) -> list[torch.optim.Optimizer]:
    """AdamW for a plain and a slow_group group, and Muon for the matrices in the middle of a model."""
    plain: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    square: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if slow_group[0] and name.startswith(slow_group[0]):
            slow.append(parameter)
        elif matrices is not None and name.startswith(matrices) and _is_inner(name, parameter):
            square.append(parameter)
        else:
            plain.append(parameter)
    groups = [{"params": plain, "lr": rate}, {"params": slow, "lr": rate * slow_group[1]}]
    adam = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        betas=(0.9, 0.99),
        weight_decay=decay,
        fused=True,
    )
    return [adam, Muon(square, lr=1.5 * rate, weight_decay=decay)] if square else [adam]


def _is_inner(name: str, parameter: nn.Parameter) -> bool:
    """Whether it is a matrix between a model's layers: no embedding, first, last or thin one."""
    outer = ("conv_in", "conv_out", "embeddings", ".emb.", "mlm_layer.conv2")
    return (
        min(parameter.flatten(1).shape) > 16
        if parameter.ndim > 1 and not any(word in name for word in outer)
        else False
    )


def _schedule(step: int, share_done: float) -> float:
    """A short warm-up, a level stretch, then a cosine down to two per cent."""
    warm = min(1.0, (step + 1) / 100)
    tail = max(0.0, (share_done - 0.3) / 0.7)
    return warm * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(tail, 1.0))))


def run_stage(
    name: str,
    trainer: Trainer,
    steps: int,
    loss: Callable[[int], torch.Tensor],
    *,
    every: float = 300.0,
    look: Callable[[], None] | None = None,
) -> None:
    """Train to `steps`, resuming from the last checkpoint of `name`; `look` runs now and then.

    `loss(step)` returns a scalar of the fast copy. `look` (every `every` seconds and at the end)
    is where a stage exports and judges what it has.
    """
    keep_memory()
    path = CHECKPOINTS / f"{name}.pt"
    asked_to_stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    if path.exists():
        trainer.restore(cast("dict[str, Any]", torch.load(path, weights_only=True)))
    started = saved = looked = time.monotonic()
    first, smooth = trainer.step_number, 0.0
    while trainer.step_number < steps:
        step = trainer.step_number
        value = trainer.update(loss(step), step / steps)
        smooth = value if step == first else 0.98 * smooth + 0.02 * value
        now = time.monotonic()
        if step % 50 == 0:
            pace = (now - started) / (step - first + 1)
            log(f"{name} {step}/{steps} loss {smooth:.4f} {pace:.3f} s/step")
        if asked_to_stop or now - saved > CHECKPOINT_SECONDS:
            save(path, trainer.state())
            saved = now
        if asked_to_stop:
            sys.exit(f"{name}: stopped at step {trainer.step_number}, to be gone on with")
        if look is not None and now - looked > every:
            look()
            looked = time.monotonic()
    signal.signal(signal.SIGTERM, before)
    if trainer.step_number > first:
        save(path, trainer.state())
        if look is not None:
            look()


def keep_memory() -> None:
    """Tell glibc's allocator to keep freed memory; training is up to three times as fast for it.

    By default every large tensor is mapped afresh and given back when freed, and the kernel spends
    a quarter of the time zeroing pages. Elsewhere than on Linux with glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**28)
    mallopt(arena_max, 1)


def save(path: Path, value: object) -> None:
    """Write a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def forget(*stages: str) -> None:
    """Delete the checkpoints of stages that are done, so that the next refinement starts anew."""
    for name in stages:
        (CHECKPOINTS / f"{name}.pt").unlink(missing_ok=True)


def log(line: str) -> None:
    """One line of progress, on stderr: stdout is for results."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)
