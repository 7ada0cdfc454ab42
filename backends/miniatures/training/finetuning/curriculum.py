"""What a family learns from: the world, or what is new in it, held to what was known before."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.trainer import Stage
from backends.miniatures.world import scene as world


@dataclass(frozen=True, slots=True)
class Pictures:
    """Scenes, and their codes (n, ...)."""

    scenes: list[world.Scene]
    codes: torch.Tensor


@dataclass(frozen=True, slots=True)
class Curriculum:
    """What a model learns from: the world, or, with what it was before, what is new in the world.

    `before` is in `fast_type()` and learns nothing; it is asked as the learner is. `balanced` asks
    for scenes in balanced_kinds without one, too. `new` is one of `world.KINDS`.
    """

    before: nn.Module | None = None
    new: str = world.NEW
    balanced: bool = False
    rng: random.Random = field(default_factory=random.Random)

    def scenes(self, size: int) -> list[world.Scene]:
        """Scenes as they come, or in balanced_kinds."""
        if self.before is None and not self.balanced:
            return [world.sample(self.rng) for _ in range(size)]
        kinds = itertools.islice(itertools.cycle(balanced_kinds(self.new)), size)
        return [world.sample(self.rng, kind=kind) for kind in kinds]

    def batches(self, codes: torch.Tensor, scenes: list[world.Scene]) -> dataset.Batches:
        """The same of scenes whose codes are known."""
        if self.before is None:
            return dataset.Batches(codes, scenes, self.rng)
        known = [kind(scene) for scene in scenes]
        pools = {each: [at for at, one in enumerate(known) if one == each] for each in world.KINDS}
        balanced = tuple(pools[each] for each in balanced_kinds(self.new))
        return dataset.Batches(codes, scenes, self.rng, balanced)

    def is_new(self, scenes: list[world.Scene]) -> torch.Tensor:
        """Which scenes (n,) are of the new kind."""
        return torch.tensor([kind(scene) == self.new for scene in scenes])

    def target(
        self, truth: torch.Tensor, scenes: list[world.Scene], said: Callable[[Any, Any], Any]
    ) -> torch.Tensor:
        """The truth (n, ...) where a scene is new, elsewhere what `said(before, rows)` gives.

        `rows` is a mask (n,) of the scenes that are asked about.
        """
        if self.before is None:
            return truth
        wanted, old = truth.clone(), ~self.is_new(scenes)
        with torch.no_grad():
            wanted[old] = said(self.before, old).float()
        return wanted

    def token_errors(
        self, learner: nn.Module, given: tuple[torch.Tensor, ...], pictures: Pictures
    ) -> torch.Tensor:
        """Cross-entropies of the true codes that are judged: a mask like them, last in `given`."""
        judged, codes = given[-1], pictures.codes

        def of_each(rows: torch.Tensor) -> torch.Tensor:
            return rows.view(-1, *[1] * (codes.ndim - 1)).expand_as(codes)[judged]

        wanted, now = codes[judged], learner(*given).float()
        if self.before is None:
            return F.cross_entropy(now, wanted, reduction="none")
        with torch.no_grad():
            then = self.before(*given).float()
        # The rows of what knew no strokes are those of other pieces still, and say as much.
        filled = torch.tensor([kind(scene) != "outlined" for scene in pictures.scenes])
        then[of_each(filled), codebook.grounded() :] = -torch.inf
        fresh, truth = of_each(self.is_new(pictures.scenes)), F.one_hot(wanted, now.shape[1])
        thought = torch.where(fresh[:, None], truth.float(), then.softmax(-1))
        return F.cross_entropy(now, thought, reduction="none")


def balanced_kinds(new: str) -> tuple[str, ...]:
    """Kinds of scenes in balanced_kinds: every second one is new, and of what is known nothing is rare.

    Of scenes as they come in the world, textures were forgotten when outlines were learned; of as
    many of each kind, pairs were.
    """
    known = ("pair", "single", "textured", "outlined", "pair", "group")
    return tuple(each for kind in known if kind != new for each in (new, kind))


def kind(scene: world.Scene) -> str:
    """Which of `world.KINDS` a scene is."""
    if any(thing.outlined for thing in scene.things):
        return "outlined"
    if scene.texture:
        return "textured"
    return "pair" if scene.relation else "group" if scene.number > 1 else "single"


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What a model is trained with, beside itself."""

    tokenizer: Any
    stage: Stage
    curriculum: Curriculum = field(default_factory=Curriculum)
