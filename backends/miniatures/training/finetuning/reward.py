"""Reward fine-tuning: sample from a miniature, judge the pictures by rule, learn from both
outcomes.

Training on pictures teaches what is likely, but never that a picture with two things is wrong where
one was asked for. Negative-aware fine-tuning does (arXiv 2505.18116 for token models, 2509.16117
for diffusion): the current prediction, mixed with the reference's, is drawn towards right pictures,
and its mirror image about the reference towards wrong ones. It needs no reward model and no data
beside the sampled pictures. Prompts are of the training scenes; held-out combinations stay held
out.
"""

import copy
import random
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.loop.trainer import (
    Stage,
    Trainer,
    delete_checkpoints,
    log,
    run_stage,
)
from backends.miniatures.world import captions
from backends.miniatures.world.adherence import satisfies
from backends.miniatures.world.recognition import recognize

SAMPLING_INTERVAL: Final = 12
"""Steps between two rounds of sampling."""
PROMPTS_PER_ROUND: Final = 8
"""Prompts in a round."""
SAMPLES_PER_PROMPT: Final = 8
"""Pictures of each prompt. Advantages are relative to them: a right one counts more, the fewer
there are."""
BUFFER_SIZE: Final = 1200
"""Pictures in the replay buffer; the oldest are dropped."""
MIN_SAMPLES: Final = 160
"""Pictures needed in the buffer before the first step."""
MAX_FIRST_ROUNDS: Final = 20
"""Rounds in which these must be found."""
BATCH: Final = 32
REFERENCE_UPDATE: Final = 0.5
"""Step of the reference's weights towards the learner's, before each round."""
BETA: Final = 0.5
"""Weight of the learner's prediction in the mixture with the reference's: beta in both papers."""
KIND_SHARES: Final = {
    "single": 0.15,
    "pair": 0.2,
    "group": 0.25,
    "textured": 0.25,
    "outlined": 0.15,
}
"""Kinds of the sampled prompts and their shares: hard kinds are more frequent than in the world."""

Sampler: TypeAlias = Callable[[list[str]], tuple[torch.Tensor, list[Image.Image]]]
"""Function from captions to the codes (n, ...) sampled for them and their pictures."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled picture: its caption, its code, and its advantage among its prompt's, from 0 to
    1.
    """

    sentence: str
    code: torch.Tensor
    advantage: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Captions (n), codes (n, ...), advantages (n,)."""

    sentences: list[str]
    codes: torch.Tensor
    advantages: torch.Tensor


@dataclass(frozen=True, slots=True)
class RewardTask:
    """How a family samples, and its loss.

    `make_sampler` is called once with the reference model, whose weights change afterwards. `loss`
    takes the learner, the reference and a batch of samples.
    """

    make_sampler: Callable[[nn.Module], Sampler]
    loss: Callable[[nn.Module, nn.Module, Batch], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A scene of some kind, its caption, and whether the caption is a full one."""

    kind: str
    scene: world.Scene
    full: bool
    sentence: str


def sample_prompt(rng: random.Random) -> Prompt:
    """Sample a training scene and a caption that states all shapes and the relation."""
    kind, full = rng.choices(tuple(KIND_SHARES), tuple(KIND_SHARES.values()))[0], rng.random() < 0.5
    scene = world.sample(rng, kind=kind)
    return Prompt(kind, scene, full, captions.write(scene, rng, vague=0, loose=0, full=full))


class RewardLoop:
    """Rounds of sampling between training steps; `loss` is the function that `run_stage` takes."""

    def __init__(
        self,
        task: RewardTask,
        learner: nn.Module,
        sample_prompt: Callable[[random.Random], Prompt] = sample_prompt,
    ) -> None:
        self._task, self._learner, self._sample_prompt = task, learner, sample_prompt
        self._reference: nn.Module | None = None
        self._sampler: Sampler | None = None
        self._buffer: deque[Sample] = deque(maxlen=BUFFER_SIZE)
        self._success_rates = defaultdict[str, deque[float]](lambda: deque(maxlen=60))
        self._rng = random.Random()

    def loss(self, step: int) -> torch.Tensor:
        """Return the task's loss on samples from the buffer, after a sampling round if one is
        due.
        """
        reference = self._updated_reference(step)
        chosen = self._rng.sample(self._buffer, BATCH)
        codes = torch.stack([sample.code for sample in chosen])
        advantages = torch.tensor([sample.advantage for sample in chosen])
        batch = Batch([sample.sentence for sample in chosen], codes, advantages)
        return self._task.loss(self._learner, reference, batch)

    def _updated_reference(self, step: int) -> nn.Module:
        """Return the reference, after updating it and sampling a round if one is due."""
        # Made at the first step, when a checkpoint has been read, and not before.
        if self._reference is None or self._sampler is None:
            self._reference = copy.deepcopy(self._learner).requires_grad_(False).eval()
            self._sampler = self._task.make_sampler(self._reference)
            self._fill_buffer(self._sampler)
        elif step % SAMPLING_INTERVAL == 0:
            with torch.no_grad():
                pairs = zip(self._reference.parameters(), self._learner.parameters(), strict=True)
                for old, new in pairs:
                    old.lerp_(new, REFERENCE_UPDATE)
            self._sample_round(self._sampler)
        if step % (4 * SAMPLING_INTERVAL) == 0:
            shares = {
                kind: f"{sum(all_) / len(all_):.3f}" for kind, all_ in self._success_rates.items()
            }
            log(f"drawn right, in the last rounds: {shares}")
        return self._reference

    def _fill_buffer(self, sampler: Sampler) -> None:
        """Sample until there are MIN_SAMPLES; exit if MAX_FIRST_ROUNDS do not yield as many."""
        for _ in range(MAX_FIRST_ROUNDS):
            self._sample_round(sampler)
            if len(self._buffer) >= MIN_SAMPLES:
                return
        sys.exit(
            f"There is nothing to learn: of {MAX_FIRST_ROUNDS * PROMPTS_PER_ROUND} prompts "
            "nearly all were drawn right each time, or wrong each time. "
            "Train it further if it draws nothing right."
        )

    def _sample_round(self, sampler: Sampler) -> None:
        """Sample and judge the pictures of one round; keep those of prompts with both outcomes."""
        prompts = [self._sample_prompt(self._rng) for _ in range(PROMPTS_PER_ROUND)]
        with torch.no_grad():
            codes, pictures = sampler(
                [prompt.sentence for prompt in prompts for _ in range(SAMPLES_PER_PROMPT)]
            )
        for index, prompt in enumerate(prompts):
            span = slice(index * SAMPLES_PER_PROMPT, (index + 1) * SAMPLES_PER_PROMPT)
            right = [
                satisfies(recognize(picture), prompt.scene, prompt.full)
                for picture in pictures[span]
            ]
            self._success_rates[prompt.kind].append(sum(right) / SAMPLES_PER_PROMPT)
            samples = zip(codes[span], advantages(right), strict=True)
            if any(right) and not all(right):  # of others nothing is to be learned
                self._buffer.extend(Sample(prompt.sentence, code.clone(), m) for code, m in samples)


def advantages(right: list[bool]) -> list[float]:
    """Return each picture's advantage, 0 to 1: its distance from the mean in standard deviations.

    0.5 is as good as the average of its prompt, as in arXiv 2509.16117.
    """
    mean = sum(right) / len(right)
    spread = (mean * (1 - mean)) ** 0.5
    if spread == 0:
        return [0.5] * len(right)
    return [0.5 + 0.5 * max(-1.0, min((one - mean) / spread, 1.0)) for one in right]


@dataclass(frozen=True, slots=True)
class VelocityObjective:
    """The loss for models that predict v: `velocity(model, noisy codes, times, captions)`.

    `alphas_cumprod` is the schedule's signal power at each time. Three fifths of the times are
    `late` or later, as a share of the schedule: there the content is decided.
    """

    velocity: Callable[[nn.Module, torch.Tensor, torch.Tensor, list[str]], torch.Tensor]
    alphas_cumprod: torch.Tensor
    late: float

    def loss(self, learner: nn.Module, reference: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the squared errors of both mixtures, weighted by the advantages."""
        clean = batch.codes.float()
        times = self._times(len(clean))
        signal_scale = self.alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - self.alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy, wanted = (
            signal_scale * clean + noise_scale * noise,
            signal_scale * noise - noise_scale * clean,
        )
        now = self.velocity(learner, noisy, times, batch.sentences)
        with torch.no_grad():
            then = self.velocity(reference, noisy, times, batch.sentences)
        return velocity_loss(now - wanted, then - wanted, batch.advantages)

    def _times(self, count: int) -> torch.Tensor:
        """Sample times (count,), three fifths of them late, none in the first fifth."""
        steps, chance = len(self.alphas_cumprod), torch.rand(count)
        first = torch.where(torch.rand(count) < 0.6, self.late, 0.2)
        return ((first + chance * (1 - first)) * steps).long().clamp_max(steps - 1)


def velocity_loss(now: torch.Tensor, then: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return the loss from the errors (n, ...) of both predictions and advantages (n,).

    Each picture's squared error is divided by its magnitude, so that hard times do not outweigh
    others.
    """
    right, wrong = BETA * now + (1 - BETA) * then, (1 + BETA) * then - BETA * now
    return (
        advantages * _scaled_squared_error(right) + (1 - advantages) * _scaled_squared_error(wrong)
    ).mean() / BETA


def _scaled_squared_error(error: torch.Tensor) -> torch.Tensor:
    """Return each picture's mean squared error over its mean absolute error: (n,)."""
    squared, size = error.square().flatten(1).mean(1), error.detach().abs().flatten(1).mean(1)
    return squared / size.clamp_min(1e-4)


def token_log_probabilities(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities (n,) of the target tokens, from logits (n, tokens)."""
    return -F.cross_entropy(logits.float(), wanted, reduction="none")


def token_loss(now: torch.Tensor, then: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return the loss from log-probabilities (n,) of sampled tokens, current and reference, and
    advantages.
    """
    ratio = (now - then).exp()
    right, wrong = 1 - BETA + BETA * ratio, 1 + BETA - BETA * ratio
    terms = advantages * right.log() + (1 - advantages) * wrong.clamp_min(0.05).log()
    return -terms.sum() / BETA


def build_trainer(model: nn.Module, rate: float) -> Trainer:
    """Return a trainer for reward fine-tuning: no weight decay, a short average."""
    return Trainer(model, rate=rate, decay=0.0, average=0.99)


def finetune(task: RewardTask, trainer: Trainer, stage: Stage, save: Callable[[], None]) -> None:
    """Run a stage of reward fine-tuning, resumed from its checkpoint; `save` exports
    periodically.
    """
    loss = RewardLoop(task, trainer.fast).loss
    run_stage(stage.name, trainer, stage.steps, loss, on_checkpoint=save)
    delete_checkpoints(stage.name)
