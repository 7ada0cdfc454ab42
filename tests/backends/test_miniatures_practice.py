"""A miniature that practises comes to draw right what it drew wrong, judged by rule."""

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.check import fulfils
from backends.miniatures.practice import (
    Batch,
    Draw,
    Practice,
    Prompt,
    Subject,
    Velocities,
    merits,
    token_loss,
    trainee_of,
)
from backends.miniatures.precision import at_border, fast_type
from backends.miniatures.sight import look

STAR = world.Scene("white", (world.Thing("star", "red", "large", 64, 64, 25.0),), "centre")
EMPTY = replace(STAR, things=())


def ask(_: random.Random) -> Prompt:
    """Always for the one star."""
    return Prompt("single", STAR, False, "a red star")


class Coin(nn.Module):
    """Draws the star by chance: its code is 1, and -1 where the picture stays empty."""

    def __init__(self) -> None:
        super().__init__()
        self.lean = nn.Parameter(torch.zeros(1))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of codes (n,)."""
        return F.logsigmoid(codes * self.lean.float())

    def chance(self) -> float:
        """Of the star."""
        return float(self.lean.sigmoid())


def tossed(coin: nn.Module) -> Draw:
    """An artist who tosses the coin as it is now."""
    assert isinstance(coin, Coin)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        codes = (torch.rand(len(sentences)) < coin.chance()).float() * 2 - 1
        return codes, [world.draw(STAR if code > 0 else EMPTY) for code in codes]

    return draw


def surprise(learner: nn.Module, before: nn.Module, batch: Batch) -> torch.Tensor:
    """How unlikely right pictures are, and how likely wrong ones."""
    return token_loss(learner(batch.codes), before(batch.codes).detach(), batch.merits)


def test_practice_makes_right_pictures_likelier() -> None:
    coin = Coin()
    trainee = trainee_of(coin, rate=0.05)
    practice = Practice(Subject(tossed, surprise), trainee.fast, ask)
    for step in range(120):
        trainee.update(practice.loss(step), 0.0)
    assert coin.chance() > 0.8


def test_the_one_that_draws_follows_the_one_that_learns_and_keeps_behind_it() -> None:
    coin = Coin()
    trainee = trainee_of(coin, rate=0.05)
    drawing = list[nn.Module]()

    def artist(before: nn.Module) -> Draw:
        drawing.append(before)
        return tossed(before)

    practice = Practice(Subject(artist, surprise), trainee.fast, ask)
    for step in range(61):
        trainee.update(practice.loss(step), 0.0)
    (before,) = drawing
    assert isinstance(before, Coin)
    assert 0.5 < before.chance() < coin.chance()


def test_one_right_picture_among_many_wrong_ones_counts_most() -> None:
    assert merits([True, False, False, False]) == pytest.approx(
        [1.0, 0.211, 0.211, 0.211], abs=1e-3
    )
    assert merits([True, True, True, False]) == pytest.approx([0.789, 0.789, 0.789, 0.0], abs=1e-3)
    assert merits([True, True]) == merits([False, False]) == [0.5, 0.5]


class Guess(nn.Module):
    """Predicts v for codes of a single number, sure that the clean one is `clean`."""

    def __init__(self) -> None:
        super().__init__()
        self.clean = nn.Parameter(torch.zeros(1))

    def velocity(self, noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """v = signal * noise - grain * clean, the noise being what is left of `noisy`."""
        signal = KEPT[times].sqrt()[:, None, None, None]
        grain = (1 - KEPT[times]).sqrt()[:, None, None, None]
        return (signal * noisy - self.clean) / grain


KEPT = torch.linspace(0.9, 0.0, 1000)


@pytest.mark.parametrize(("merit", "sign"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_velocities_go_to_right_pictures_and_away_from_wrong_ones(merit: float, sign: int) -> None:
    learner, before = Guess(), Guess()

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, _: list[str]
    ) -> torch.Tensor:
        assert isinstance(model, Guess)
        return model.velocity(noisy, times)

    batch = Batch(["a red star"] * 64, torch.ones(64, 1, 1, 1), torch.full((64,), merit))
    Velocities(velocity, KEPT, late=0.6).loss(learner, before, batch).backward()
    assert learner.clean.grad is not None
    pull = -float(learner.clean.grad)  # towards 1, where the drawn pictures are
    assert pull * sign > 0.1 if sign else abs(pull) < 1e-4


@pytest.mark.parametrize(
    ("size", "full", "fine"),
    [
        ("large", True, True),
        ("small", True, False),
        ("small", False, True),
    ],
)
def test_what_a_caption_does_not_say_is_free(size: str, full: bool, fine: bool) -> None:
    asked = world.Thing("star", "red", "large", 64, 64, 25.0)
    drawn = world.Thing("star", "red", size, 64, 64, world.SIZES[size])
    view = look(world.draw(replace(STAR, things=(drawn,))))
    assert fulfils(view, replace(STAR, things=(asked,)), full) is fine


def test_a_model_in_the_fast_type_works_among_models_in_fp32() -> None:
    model = at_border(nn.Linear(4, 4).to(fast_type()))
    drawn = model(torch.ones(2, 4))
    assert drawn.dtype is torch.float32
