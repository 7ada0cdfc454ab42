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

NEW: Final = "outlined"
"""The kind of scene that was new when the committed weights last went on with a wider world."""
KNOWN: Final = ("pair", "single", "textured", "pair", "group")
TURNS: Final = tuple(each for kind in KNOWN for each in (NEW, kind))
"""Every second scene is new, and of what was known nothing is rare. Of scenes as they come in the
world, textures were forgotten when outlines were learned; of as many of each kind, pairs were."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Scenes, and their codes (n, ...)."""

    scenes: list[world.Scene]
    codes: torch.Tensor


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model learns from: the world, or, with what it was before, what is new in the world.

    `before` is in `fast_type()` and learns nothing; it is asked as the learner is. `in_turns` asks
    for scenes in TURNS without one, too.
    """

    before: nn.Module | None = None
    in_turns: bool = False
    dice: random.Random = field(default_factory=random.Random)

    def scenes(self, size: int) -> list[world.Scene]:
        """Scenes as they come, or in TURNS."""
        if self.before is None and not self.in_turns:
            return [world.sample(self.dice) for _ in range(size)]
        kinds = (TURNS[index % len(TURNS)] for index in range(size))
        return [world.sample(self.dice, kind=kind) for kind in kinds]

    def batches(self, codes: torch.Tensor, scenes: list[world.Scene]) -> data.Batches:
        """The same of scenes whose codes are known."""
        if self.before is None:
            return data.Batches(codes, scenes, self.dice)
        known = [kind(scene) for scene in scenes]
        pools = {each: [at for at, one in enumerate(known) if one == each] for each in TURNS}
        return data.Batches(codes, scenes, self.dice, tuple(pools[each] for each in TURNS))

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
        self, learner: nn.Module, given: tuple[torch.Tensor, ...], pictures: Pictures
    ) -> torch.Tensor:
        """Cross-entropies of the true codes that are judged: a mask like them, last in `given`.

        What was before knew no strokes.
        """
        judged, codes = given[-1], pictures.codes
        wanted, now = codes[judged], learner(*given).float()
        if self.before is None:
            return F.cross_entropy(now, wanted, reduction="none")
        with torch.no_grad():
            then = self.before(*given)[:, : tokens.grounded()].float().softmax(-1)
        thought = F.pad(then, (0, now.shape[1] - then.shape[1]))
        new = torch.tensor([is_new(scene) for scene in pictures.scenes])
        fresh = new.view(-1, *[1] * (codes.ndim - 1)).expand_as(codes)[judged][:, None]
        truth = F.one_hot(wanted, now.shape[1]).float()
        return F.cross_entropy(now, torch.where(fresh, truth, thought), reduction="none")


def is_new(scene: world.Scene) -> bool:
    """Whether a scene shows what the world has got."""
    return kind(scene) == NEW


def kind(scene: world.Scene) -> str:
    """Which of `world.KINDS` a scene is."""
    if any(thing.outlined for thing in scene.things):
        return "outlined"
    if scene.texture:
        return "textured"
    return "pair" if scene.relation else "group" if scene.number > 1 else "single"


@dataclass(frozen=True, slots=True)
class Tools:
    """What a model is trained with, beside itself."""

    tokenizer: Any
    stage: Stage
    lesson: Lesson = field(default_factory=Lesson)
