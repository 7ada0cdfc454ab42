"""What a family learns from: the world, or what is new in it, held to what was known before."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures import data, tokens, world
from backends.miniatures.training import Stage

NEW: Final = "textured"
"""The kind of scene that was new when the committed weights last went on with a wider world."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model learns from: the world, or, with what it was before, what is new in the world.

    `before` is in `fast_type()` and learns nothing; it is asked as the learner is.
    """

    before: nn.Module | None = None
    dice: random.Random = field(default_factory=random.Random)

    def scenes(self, size: int) -> list[world.Scene]:
        """Scenes as they come, or every second one new."""
        if self.before is None:
            return [world.sample(self.dice) for _ in range(size)]
        return [self._one(new=index % 2 == 0) for index in range(size)]

    def _one(self, *, new: bool) -> world.Scene:
        while True:
            scene = world.sample(self.dice, kind=NEW if new else None)
            if is_new(scene) == new:
                return scene

    def batches(self, codes: torch.Tensor, scenes: list[world.Scene]) -> data.Batches:
        """The same of scenes whose codes are known."""
        if self.before is None:
            return data.Batches(codes, scenes, self.dice)
        numbers = range(len(scenes))
        new = [number for number in numbers if is_new(scenes[number])]
        old = [number for number in numbers if not is_new(scenes[number])]
        return data.Batches(codes, scenes, self.dice, (new, old))

    def target(
        self, truth: torch.Tensor, scenes: list[world.Scene], said: Callable[[Any, Any], Any]
    ) -> torch.Tensor:
        """The truth (n, ...) where a scene is new, elsewhere what `said(before, rows)` gives.

        `rows` is a mask (n,) of the scenes that are asked about.
        """
        if self.before is None:
            return truth
        wanted, old = truth.clone(), torch.tensor([not is_new(scene) for scene in scenes])
        with torch.no_grad():
            wanted[old] = said(self.before, old).float()
        return wanted

    def token_errors(
        self, learner: nn.Module, given: tuple[torch.Tensor, ...], codes: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropies of the true `codes` (n, ...) that are judged: a mask, last in `given`.

        Pictures with a token of a texture are the new ones; what was before knew no such token.
        """
        judged = given[-1]
        wanted, now = codes[judged], learner(*given).float()
        if self.before is None:
            return F.cross_entropy(now, wanted, reduction="none")
        with torch.no_grad():
            then = self.before(*given)[:, : tokens.pieced()].float().softmax(-1)
        thought = F.pad(then, (0, now.shape[1] - then.shape[1]))
        new = (codes >= tokens.pieced()).flatten(1).any(1).view(-1, *[1] * (codes.ndim - 1))
        fresh = new.expand_as(codes)[judged][:, None]
        truth = F.one_hot(wanted, now.shape[1]).float()
        return F.cross_entropy(now, torch.where(fresh, truth, thought), reduction="none")


def is_new(scene: world.Scene) -> bool:
    """Whether a scene shows what the world has got."""
    return scene.texture is not None


@dataclass(frozen=True, slots=True)
class Tools:
    """What a model is trained with, beside itself."""

    tokenizer: Any
    stage: Stage
    lesson: Lesson = field(default_factory=Lesson)
