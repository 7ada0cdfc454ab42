"""The training loop: mixed precision, averaged weights, a learning rate schedule, and checkpoints.

Forward and backward run on a copy of the model in the number type that the processor is fastest in
(see `precision.py`); the optimizers update fp32 master weights (mixed precision training, arXiv
1710.03740), and the exported weights are their exponential moving average.
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
from backends.miniatures.training.loop.precision import fastest_dtype

CHECKPOINTS: Final = Path("data/training")
"""Folder of checkpoints and caches, relative to the working directory and kept out of git;
deleting it is safe."""

CHECKPOINT_SECONDS: Final = 90.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training: its checkpoint's name, its length in steps, its learning rate."""

    name: str
    steps: int
    rate: float


class Trainer:
    """A model in training: `masters` in fp32, `fast` in `fastest_dtype()`, `average` for export.

    Parameters whose name starts with `slow_group[0]` have `slow_group[1]` times the learning rate.
    Weight matrices whose name starts with `matrices` are updated by Muon, all other parameters by
    AdamW.
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
        self.fast = copy.deepcopy(self.masters).to(fastest_dtype())
        self.average = copy.deepcopy(self.masters).requires_grad_(False)
        self.ema_decay = average
        self.trainable = [p for p in self.masters.parameters() if p.requires_grad]
        self._fast = [p for p in self.fast.parameters() if p.requires_grad]
        self._averaged = [
            theirs
            for theirs, ours in zip(
                self.average.parameters(), self.masters.parameters(), strict=True
            )
            if ours.requires_grad
        ]
        self.optimizers = _build_optimizers(self.masters, rate, decay, slow_group, matrices)
        self._rates = [
            [float(group["lr"]) for group in optimizer.param_groups]
            for optimizer in self.optimizers
        ]
        self.step_number = 0

    def update(self, loss: torch.Tensor, progress: float) -> float:
        """Take one optimizer step and return the loss; `progress` (0 to 1) sets the learning
        rate.
        """
        loss.backward()
        for master, fast in zip(self.trainable, self._fast, strict=True):
            if fast.grad is not None:
                master.grad = fast.grad.float()
                fast.grad = None
        torch.nn.utils.clip_grad_norm_(self.trainable, 1.0)
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _learning_rate_factor(self.step_number, progress)
            optimizer.step()
        self.step_number += 1
        with torch.no_grad():
            for fast, master in zip(self._fast, self.trainable, strict=True):
                fast.copy_(master)
            # Early on the average follows fast, so that it never drags the random start along.
            smoothing = min(self.ema_decay, self.step_number / (self.step_number + 10))
            for average, master in zip(self._averaged, self.trainable, strict=True):
                average.lerp_(master, 1 - smoothing)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        return {
            "masters": self.masters.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step_number,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state()`."""
        self.masters.load_state_dict(state["masters"])
        self.fast.load_state_dict(state["masters"])
        self.average.load_state_dict(state["average"])
        for optimizer, memory in zip(self.optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(memory)
        self.step_number = int(state["step"])


def _build_optimizers(
    model: nn.Module, rate: float, decay: float, slow_group: tuple[str, float], matrices: str | None
) -> list[torch.optim.Optimizer]:
    """Return AdamW for the plain and the slow group, and Muon for the inner matrices if there
    are any.
    """
    plain: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    square: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if slow_group[0] and name.startswith(slow_group[0]):
            slow.append(parameter)
        elif (
            matrices is not None and name.startswith(matrices) and _is_inner_matrix(name, parameter)
        ):
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


def _is_inner_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter is a matrix inside the model: no embedding, first, last or
    thin layer.
    """
    outer = ("conv_in", "conv_out", "embeddings", ".emb.", "mlm_layer.conv2")
    return (
        min(parameter.flatten(1).shape) > 16
        if parameter.ndim > 1 and not any(word in name for word in outer)
        else False
    )


def _learning_rate_factor(step: int, progress: float) -> float:
    """Return the schedule's factor: warm-up of 100 steps, constant, then a cosine down to two
    per cent.
    """
    warm = min(1.0, (step + 1) / 100)
    tail = max(0.0, (progress - 0.3) / 0.7)
    return warm * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(tail, 1.0))))


def run_stage(
    name: str,
    trainer: Trainer,
    steps: int,
    loss: Callable[[int], torch.Tensor],
    *,
    callback_seconds: float = 300.0,
    on_checkpoint: Callable[[], None] | None = None,
) -> None:
    """Train up to `steps`, resuming from the checkpoint `name`.

    `loss(step)` returns a scalar of the fast copy. `on_checkpoint`, called every `callback_seconds`
    and at the end, exports and evaluates the average. SIGTERM saves a checkpoint and exits.
    """
    retain_freed_memory()
    path = CHECKPOINTS / f"{name}.pt"
    stop_signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stop_signals.append(number))
    if path.exists():
        trainer.restore(cast("dict[str, Any]", torch.load(path, weights_only=True)))
    started = saved = called_back = time.monotonic()
    first, smooth = trainer.step_number, 0.0
    while trainer.step_number < steps:
        step = trainer.step_number
        value = trainer.update(loss(step), step / steps)
        smooth = value if step == first else 0.98 * smooth + 0.02 * value
        now = time.monotonic()
        if step % 50 == 0:
            seconds_per_step = (now - started) / (step - first + 1)
            log(f"{name} {step}/{steps} loss {smooth:.4f} {seconds_per_step:.3f} s/step")
        if stop_signals or now - saved > CHECKPOINT_SECONDS:
            save_atomically(path, trainer.state())
            saved = now
        if stop_signals:
            sys.exit(f"{name}: stopped at step {trainer.step_number}, to be gone on with")
        if on_checkpoint is not None and now - called_back > callback_seconds:
            on_checkpoint()
            called_back = time.monotonic()
    signal.signal(signal.SIGTERM, before)
    if trainer.step_number > first:
        save_atomically(path, trainer.state())
        if on_checkpoint is not None:
            on_checkpoint()


def retain_freed_memory() -> None:
    """Make glibc's allocator keep freed memory, which makes training up to three times as fast.

    By default every large tensor is mapped anew and unmapped when freed, and the kernel spends a
    quarter of the time zeroing pages. Without glibc this does nothing.
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


def save_atomically(path: Path, value: object) -> None:
    """Write a checkpoint completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def delete_checkpoints(*stages: str) -> None:
    """Delete the checkpoints of finished stages, so that the next refinement starts anew."""
    for name in stages:
        (CHECKPOINTS / f"{name}.pt").unlink(missing_ok=True)


def log(line: str) -> None:
    """Print one line of progress on stderr; stdout is for results."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)
