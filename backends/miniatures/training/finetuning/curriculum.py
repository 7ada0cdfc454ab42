"""The curriculum of a stage: which scenes a model trains on, and which targets it has for each.

A new model trains on scenes of the whole world. A model that is extended by a new kind of scenes
trains on true targets for that kind and on the predictions of its earlier self for all others
(learning without forgetting, arXiv 1606.09282).
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.trainer import Stage


@dataclass(frozen=True, slots=True)
class EncodedScenes:
    """Scenes and their codes (n, ...)."""

    scenes: list[world.Scene]
    codes: torch.Tensor


@dataclass(frozen=True, slots=True)
class Curriculum:
    """The scenes and targets of a stage.

    `reference` is the earlier model, frozen, in `fastest_dtype()`, called like the trained one;
    None trains on the whole world. `new` is the new kind, one of `world.KINDS`. `balanced` asks for
    `balanced_kinds` without a reference, too.
    """

    reference: nn.Module | None = None
    new: str = world.NEWEST_KIND
    balanced: bool = False
    rng: random.Random = field(default_factory=random.Random)

    def scenes(self, size: int) -> list[world.Scene]:
        """Sample scenes with the world's frequencies, or in the rotation of `balanced_kinds`."""
        if self.reference is None and not self.balanced:
            return [world.sample(self.rng) for _ in range(size)]
        kinds = itertools.islice(itertools.cycle(balanced_kinds(self.new)), size)
        return [world.sample(self.rng, kind=kind) for kind in kinds]

    def batches(self, codes: torch.Tensor, scenes: list[world.Scene]) -> dataset.BatchSampler:
        """Return a sampler with the same proportions over scenes whose codes are known."""
        if self.reference is None:
            return dataset.BatchSampler(codes, scenes, self.rng)
        known = [kind_of(scene) for scene in scenes]
        pools = {each: [at for at, one in enumerate(known) if one == each] for each in world.KINDS}
        balanced = tuple(pools[each] for each in balanced_kinds(self.new))
        return dataset.BatchSampler(codes, scenes, self.rng, balanced)

    def is_new(self, scenes: list[world.Scene]) -> torch.Tensor:
        """Return the mask (n,) of the scenes of the new kind."""
        return torch.tensor([kind_of(scene) == self.new for scene in scenes])

    def mixed_target(
        self, truth: torch.Tensor, scenes: list[world.Scene], predict: Callable[[Any, Any], Any]
    ) -> torch.Tensor:
        """Return the truth (n, ...) for new scenes, for others `predict(reference, rows)`.

        `rows` is the mask (n,) of the scenes to predict.
        """
        if self.reference is None:
            return truth
        targets, old = truth.clone(), ~self.is_new(scenes)
        with torch.no_grad():
            targets[old] = predict(self.reference, old).float()
        return targets

    def token_errors(
        self, learner: nn.Module, inputs: tuple[torch.Tensor, ...], pictures: EncodedScenes
    ) -> torch.Tensor:
        """Return the cross-entropies of the tokens in a mask (n, ...), the last of `inputs`.

        The target is the true token for new scenes, the reference's distribution for others.
        """
        judged, codes = inputs[-1], pictures.codes

        def expand_rows(rows: torch.Tensor) -> torch.Tensor:
            return rows.view(-1, *[1] * (codes.ndim - 1)).expand_as(codes)[judged]

        targets, logits = codes[judged], learner(*inputs).float()
        if self.reference is None:
            return F.cross_entropy(logits, targets, reduction="none")
        with torch.no_grad():
            reference_logits = self.reference(*inputs).float()
        # The rows of what knew no strokes are those of other pieces still, and say as much.
        filled = torch.tensor([kind_of(scene) != "outlined" for scene in pictures.scenes])
        reference_logits[expand_rows(filled), codebook.background_end() :] = -torch.inf
        new_rows, truth = (
            expand_rows(self.is_new(pictures.scenes)),
            F.one_hot(targets, logits.shape[1]),
        )
        target_probabilities = torch.where(
            new_rows[:, None], truth.float(), reference_logits.softmax(-1)
        )
        return F.cross_entropy(logits, target_probabilities, reduction="none")


def balanced_kinds(new: str) -> tuple[str, ...]:
    """Return a rotation of kinds: every second one is `new`, and every known kind is frequent
    enough.

    With the world's frequencies, textures were forgotten while outlines were learned; with equal
    frequencies, pairs were.
    """
    known = ("pair", "single", "textured", "outlined", "pair", "group")
    return tuple(each for kind in known if kind != new for each in (new, kind))


def kind_of(scene: world.Scene) -> str:
    """Return the kind of a scene, one of `world.KINDS`."""
    if any(thing.outlined for thing in scene.things):
        return "outlined"
    if scene.texture:
        return "textured"
    return "pair" if scene.relation else "group" if scene.number > 1 else "single"


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What a model is trained with: its tokenizer, the stage, the curriculum."""

    tokenizer: Any
    stage: Stage
    curriculum: Curriculum = field(default_factory=Curriculum)
