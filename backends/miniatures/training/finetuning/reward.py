"""Practice: a miniature draws, its pictures are judged by rule, and it learns from right and wrong.

What is learned by looking at pictures is what is token_log_probabilities; that one thing is asked for and two were
drawn is told by nobody. Here it is, by negative-aware fine-tuning (arXiv 2505.18116 for words,
2509.16117 for diffusion): what the model says now, mixed with what it said before, is drawn
towards right pictures, and its mirror image about what it said before towards wrong ones. No
second model learns what is good, and nothing but the drawn pictures is needed. Prompts are of the
training scenes; what is held out stays held out.
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

from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, log, run_stage
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.miniatures.world.adherence import fulfils
from backends.miniatures.world.recognition import look

EVERY: Final = 12
"""Steps between two rounds of drawing."""
PROMPTS: Final = 8
"""Prompts of a round."""
TRIES: Final = 8
"""Pictures of each prompt. Right is relative: a right one counts the more, the fewer there are."""
KEPT: Final = 1200
"""Pictures that are learned from; older ones are forgotten."""
FEWEST: Final = 160
"""Pictures to begin with."""
PATIENCE: Final = 20
"""Rounds in which these should have been found."""
BATCH: Final = 32
FOLLOWED: Final = 0.5
"""How far the model that draws follows the one that learns, before each round."""
MIXED: Final = 0.5
"""What the model says now counts so much against what it said before: the papers' beta."""
KINDS: Final = {"single": 0.15, "pair": 0.2, "group": 0.25, "textured": 0.25, "outlined": 0.15}
"""What is drawn, and how often: what is hard oftener than in the world."""

Sampler: TypeAlias = Callable[[list[str]], tuple[torch.Tensor, list[Image.Image]]]
"""From sentences to the codes (n, ...) that are drawn for them, and their pictures."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture that was drawn: its sentence, its code, and how good it is among its prompt's.

    Merit goes from 0 (wrong) to 1 (right).
    """

    sentence: str
    code: torch.Tensor
    advantage: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences (n), codes (n, ...), advantages (n,)."""

    sentences: list[str]
    codes: torch.Tensor
    advantages: torch.Tensor


@dataclass(frozen=True, slots=True)
class RewardTask:
    """What a family practises: how a model of it draws, and how far it is off.

    `make_sampler` is given the model that draws, once; its weights change afterwards. `loss` is given
    the model that learns, the one that draws, and what was drawn.
    """

    make_sampler: Callable[[nn.Module], Sampler]
    loss: Callable[[nn.Module, nn.Module, Batch], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked for: a scene of some kind, its caption, and whether that names everything."""

    kind: str
    scene: world.Scene
    full: bool
    sentence: str


def prompt(rng: random.Random) -> Prompt:
    """A training scene, and a caption that leaves out neither shapes nor the relation."""
    kind, full = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0], rng.random() < 0.5
    scene = world.sample(rng, kind=kind)
    return Prompt(kind, scene, full, captions.write(scene, rng, vague=0, loose=0, full=full))


class Practice:
    """Rounds of drawing between steps of learning: `loss` is what `run_stage` takes."""

    def __init__(
        self, task: RewardTask, learner: nn.Module, ask: Callable[[random.Random], Prompt] = prompt
    ) -> None:
        self._subject, self._learner, self._ask = task, learner, ask
        self._before: nn.Module | None = None
        self._draw: Sampler | None = None
        self._memory: deque[Sample] = deque(maxlen=KEPT)
        self._shares = defaultdict[str, deque[float]](lambda: deque(maxlen=60))
        self._dice = random.Random()

    def loss(self, step: int) -> torch.Tensor:
        """How far the learner is off on pictures that were drawn; now and then new ones are."""
        before = self._prepared(step)
        chosen = self._dice.sample(self._memory, BATCH)
        codes = torch.stack([one.code for one in chosen])
        advantages = torch.tensor([one.advantage for one in chosen])
        batch = Batch([one.sentence for one in chosen], codes, advantages)
        return self._subject.loss(self._learner, before, batch)

    def _prepared(self, step: int) -> nn.Module:
        """The model that draws, after drawing if it is time to."""
        # Made at the first step, when a checkpoint has been read, and not before.
        if self._before is None or self._draw is None:
            self._before = copy.deepcopy(self._learner).requires_grad_(False).eval()
            self._draw = self._subject.make_sampler(self._before)
            self._begin(self._draw)
        elif step % EVERY == 0:
            with torch.no_grad():
                pairs = zip(self._before.parameters(), self._learner.parameters(), strict=True)
                for old, new in pairs:
                    old.lerp_(new, FOLLOWED)
            self._round(self._draw)
        if step % (4 * EVERY) == 0:
            shares = {kind: f"{sum(all_) / len(all_):.3f}" for kind, all_ in self._shares.items()}
            log(f"drawn right, in the last rounds: {shares}")
        return self._before

    def _begin(self, draw: Sampler) -> None:
        for _ in range(PATIENCE):
            self._round(draw)
            if len(self._memory) >= FEWEST:
                return
        sys.exit(
            f"There is nothing to learn: of {PATIENCE * PROMPTS} prompts nearly all were drawn "
            "right each time, or wrong each time. Train it further if it draws nothing right."
        )

    def _round(self, draw: Sampler) -> None:
        asked = [self._ask(self._dice) for _ in range(PROMPTS)]
        with torch.no_grad():
            codes, pictures = draw([one.sentence for one in asked for _ in range(TRIES)])
        for index, one in enumerate(asked):
            own = slice(index * TRIES, (index + 1) * TRIES)
            right = [fulfils(look(picture), one.scene, one.full) for picture in pictures[own]]
            self._shares[one.kind].append(sum(right) / TRIES)
            drawn = zip(codes[own], advantages(right), strict=True)
            if any(right) and not all(right):  # of others nothing is to be learned
                self._memory.extend(Sample(one.sentence, code.clone(), m) for code, m in drawn)


def advantages(right: list[bool]) -> list[float]:
    """From 0 to 1, how good each is among its prompt's: by standard deviations from their mean.

    Half way between where a picture is as good as the others, as in 2509.16117.
    """
    mean = sum(right) / len(right)
    spread = (mean * (1 - mean)) ** 0.5
    if spread == 0:
        return [0.5] * len(right)
    return [0.5 + 0.5 * max(-1.0, min((one - mean) / spread, 1.0)) for one in right]


@dataclass(frozen=True, slots=True)
class VelocityObjective:
    """Practice for models that predict v: `velocity` maps a model, noisy codes, times, sentences.

    `alphas_cumprod` is the schedule's share of the signal_scale at each time. Three fifths of the times are
    `late` or later: there it is decided what there is to see.
    """

    velocity: Callable[[nn.Module, torch.Tensor, torch.Tensor, list[str]], torch.Tensor]
    alphas_cumprod: torch.Tensor
    late: float

    def loss(self, learner: nn.Module, before: nn.Module, batch: Batch) -> torch.Tensor:
        """How far both mixtures are off, each weighed by the picture's advantage."""
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
            then = self.velocity(before, noisy, times, batch.sentences)
        return velocity_loss(now - wanted, then - wanted, batch.advantages)

    def _times(self, count: int) -> torch.Tensor:
        steps, chance = len(self.alphas_cumprod), torch.rand(count)
        first = torch.where(torch.rand(count) < 0.6, self.late, 0.2)
        return ((first + chance * (1 - first)) * steps).long().clamp_max(steps - 1)


def velocity_loss(now: torch.Tensor, then: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """From the errors (n, ...) of what is said now and was said then, and advantages (n,).

    Each picture's squared error is divided by its size, so that hard times do not outweigh others.
    """
    right, wrong = MIXED * now + (1 - MIXED) * then, (1 + MIXED) * then - MIXED * now
    return (advantages * _relative(right) + (1 - advantages) * _relative(wrong)).mean() / MIXED


def _relative(error: torch.Tensor) -> torch.Tensor:
    squared, size = error.square().flatten(1).mean(1), error.detach().abs().flatten(1).mean(1)
    return squared / size.clamp_min(1e-4)


def token_log_probabilities(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The log-probabilities (n,) of the tokens that are wanted, from logits (n, tokens)."""
    return -F.cross_entropy(logits.float(), wanted, reduction="none")


def token_loss(now: torch.Tensor, then: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """From the log-probabilities (n,) of drawn tokens now and then, and advantages (n,) of theirs."""
    ratio = (now - then).exp()
    right, wrong = 1 - MIXED + MIXED * ratio, 1 + MIXED - MIXED * ratio
    terms = advantages * right.log() + (1 - advantages) * wrong.clamp_min(0.05).log()
    return -terms.sum() / MIXED


def build_trainer(model: nn.Module, rate: float) -> Trainer:
    """For practice: without decay, and an average over few steps."""
    return Trainer(model, rate=rate, decay=0.0, average=0.99)


def practise(task: RewardTask, trainer: Trainer, stage: Stage, save: Callable[[], None]) -> None:
    """Practise for a stage's steps, resumed from its checkpoint; `save` exports, now and then."""
    loss = Practice(task, trainer.fast).loss
    run_stage(stage.name, trainer, stage.steps, loss, look=save)
    forget(stage.name)
