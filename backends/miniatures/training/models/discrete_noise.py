"""The noise of discrete diffusion: step by step tokens are masked, or replaced by any other.

D3PM (arXiv 2107.03006) in VQ-Diffusion's form (2111.14822). Tokens that are masked are numbered
`tokens.count()`.
"""

from typing import Final

import torch
from diffusers.schedulers.scheduling_vq_diffusion import VQDiffusionScheduler

from backends.miniatures.training.codecs import codebook

TIMES: Final = 32
"""Steps of noise, in training as in drawing: the pipeline's schedule knows no fewer."""


def scheduler() -> VQDiffusionScheduler:
    """At the end nine tenths of the tokens are masked and the others are any, as in the paper."""
    return VQDiffusionScheduler(
        num_vec_classes=codebook.count() + 1, num_train_timesteps=TIMES, gamma_cum_end=0.9
    )


def noised(codes: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (batch, 64) after `times` (batch,) steps of noise, and which were touched."""
    kept, _, masked = (table.exp()[times][:, None] for table in _so_far())
    chance = torch.rand(codes.shape)
    touched = chance >= kept
    hidden = touched & (chance < kept + masked)
    others = torch.randint(codebook.count(), codes.shape)
    return torch.where(hidden, codebook.count(), torch.where(touched, others, codes)), touched


def _steps() -> tuple[torch.Tensor, ...]:
    """Of each step of noise, logarithms: kept, made a certain other token, masked."""
    schedule = scheduler()
    return schedule.log_at, schedule.log_bt, schedule.log_ct


def _so_far() -> tuple[torch.Tensor, ...]:
    """The same for all steps up to each."""
    schedule = scheduler()
    return schedule.log_cumprod_at, schedule.log_cumprod_bt, schedule.log_cumprod_ct


def before(codes: torch.Tensor, clean: torch.Tensor, time: int) -> torch.Tensor:
    """What `codes` were before noise step `time` (0 is the first), if they were `clean` at first.

    All are (n, 64), masked cells hold `tokens.count()`. Drawn from q(x before | x now, x clean).
    """
    if time == 0:
        return clean
    kept, other, hidden = (table.exp()[time] for table in _steps())
    kept_so_far, other_so_far, hidden_so_far = (table.exp()[time - 1] for table in _so_far())
    masked = codes == codebook.count()
    number = codebook.count()
    # Weights of four cases: it was masked, the clean token, what it is now, or any other one.
    was_masked = torch.where(masked, hidden_so_far, 0.0)
    now = torch.where(masked, hidden, other)
    was_clean = now * kept_so_far
    was_any = now * other_so_far * number
    same = torch.where(codes == clean, kept_so_far + other_so_far, other_so_far)
    was_now = torch.where(masked, 0.0, kept * same)
    case = torch.stack([was_masked, was_clean, was_now, was_any], -1).flatten(0, 1)
    chosen = torch.multinomial(case, 1).view_as(codes)
    anything = torch.randint(number, codes.shape)
    found = torch.where(chosen == 1, clean, torch.where(chosen == 2, codes, anything))
    return torch.where(chosen == 0, number, found)
