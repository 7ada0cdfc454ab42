"""The noise of discrete diffusion: at each step tokens are masked, or replaced by any other.

D3PM (arXiv 2107.03006) with VQ-Diffusion's "mask and replace" transitions (2111.14822). Masked
tokens have the number `codebook.token_count()`.
"""

from typing import Final

import torch
from diffusers.schedulers.scheduling_vq_diffusion import VQDiffusionScheduler

from backends.miniatures.training.codecs import codebook

TIMES: Final = 32
"""Steps of noise, in training as in sampling: the pipeline's schedule supports no fewer."""


def scheduler() -> VQDiffusionScheduler:
    """Return the schedule: at the end nine tenths of the tokens are masked, the others random,
    as in the paper.
    """
    return VQDiffusionScheduler(
        num_vec_classes=codebook.token_count() + 1, num_train_timesteps=TIMES, gamma_cum_end=0.9
    )


def add_noise(codes: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes (batch, 64) after `times` (batch,) steps of noise, and the mask of changed
    ones.
    """
    keep, _, masked = (table.exp()[times][:, None] for table in _cumulative_log_probabilities())
    chance = torch.rand(codes.shape)
    touched = chance >= keep
    mask = touched & (chance < keep + masked)
    others = torch.randint(codebook.token_count(), codes.shape)
    return torch.where(mask, codebook.token_count(), torch.where(touched, others, codes)), touched


def _step_log_probabilities() -> tuple[torch.Tensor, ...]:
    """Return the log-probabilities of each step: kept, replaced by a given token, masked."""
    schedule = scheduler()
    return schedule.log_at, schedule.log_bt, schedule.log_ct


def _cumulative_log_probabilities() -> tuple[torch.Tensor, ...]:
    """Return the same for all steps up to each."""
    schedule = scheduler()
    return schedule.log_cumprod_at, schedule.log_cumprod_bt, schedule.log_cumprod_ct


def sample_previous(codes: torch.Tensor, clean: torch.Tensor, time: int) -> torch.Tensor:
    """Sample `codes` before noise step `time` (0 is the first), given the `clean` ones.

    All are (n, 64), masked cells hold `codebook.token_count()`. Sampled from q(x_{t-1} | x_t, x_0).
    """
    if time == 0:
        return clean
    keep, other, mask = (table.exp()[time] for table in _step_log_probabilities())
    keep_so_far, other_so_far, hidden_so_far = (
        table.exp()[time - 1] for table in _cumulative_log_probabilities()
    )
    masked = codes == codebook.token_count()
    number = codebook.token_count()
    # Weights of four cases: it was masked, the clean token, what it is now, or any other one.
    was_masked = torch.where(masked, hidden_so_far, 0.0)
    now = torch.where(masked, mask, other)
    was_clean = now * keep_so_far
    was_any = now * other_so_far * number
    same = torch.where(codes == clean, keep_so_far + other_so_far, other_so_far)
    was_now = torch.where(masked, 0.0, keep * same)
    case = torch.stack([was_masked, was_clean, was_now, was_any], -1).flatten(0, 1)
    chosen = torch.multinomial(case, 1).view_as(codes)
    anything = torch.randint(number, codes.shape)
    found = torch.where(chosen == 1, clean, torch.where(chosen == 2, codes, anything))
    return torch.where(chosen == 0, number, found)
