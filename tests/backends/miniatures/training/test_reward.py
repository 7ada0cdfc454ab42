"""A miniature that practises comes to draw right what it drew wrong, judged by rule."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from diffusers import AmusedPipeline  # pyright: ignore[reportPrivateImportUsage]
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration, JanusProcessor

from backends.local.families.discrete import read as open_folder
from backends.miniatures import world
from backends.miniatures.__main__ import main
from backends.miniatures.defaults import EXAMPLE
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.finetuning import reward
from backends.miniatures.training.finetuning.reward import (
    Batch,
    Prompt,
    RewardLoop,
    RewardTask,
    Sampler,
    VelocityObjective,
    advantages,
    build_trainer,
    sample_prompt,
    token_loss,
)
from backends.miniatures.training.loop.precision import cast_at_boundary, fastest_dtype
from backends.miniatures.training.models import autoregressive, discrete, discrete_noise, masked
from backends.miniatures.training.text import bpe, clip
from backends.miniatures.world.adherence import satisfies
from backends.miniatures.world.recognition import Recognition, recognize

STAR = world.Scene("white", (world.Thing("star", "red", "large", 64, 64, 25.0),), "centre")
EMPTY = replace(STAR, things=())


@pytest.fixture(autouse=True)
def recognized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognize equal pictures once: the coin draws the same two many hundred times."""
    known: dict[bytes, Recognition] = {}

    def cached(picture: Image.Image) -> Recognition:
        pixels = picture.tobytes()
        if pixels not in known:
            known[pixels] = recognize(picture)
        return known[pixels]

    monkeypatch.setattr(reward, "recognize", cached)


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


def tossed(coin: nn.Module) -> Sampler:
    """An make_sampler who tosses the coin as it is now."""
    assert isinstance(coin, Coin)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        codes = (torch.rand(len(sentences)) < coin.chance()).float() * 2 - 1
        return codes, [world.draw(STAR if code > 0 else EMPTY) for code in codes]

    return draw


def surprise(learner: nn.Module, before: nn.Module, batch: Batch) -> torch.Tensor:
    """How unlikely right pictures are, and how likely wrong ones."""
    return token_loss(learner(batch.codes), before(batch.codes).detach(), batch.advantages)


def test_practice_makes_right_pictures_likelier() -> None:
    coin = Coin()
    trainer = build_trainer(coin, rate=0.05)
    practice = RewardLoop(RewardTask(tossed, surprise), trainer.fast, ask)
    for step in range(120):
        trainer.update(practice.loss(step), 0.0)
    assert coin.chance() > 0.8


def test_the_one_that_draws_follows_the_one_that_learns_and_keeps_behind_it() -> None:
    coin = Coin()
    trainer = build_trainer(coin, rate=0.05)
    drawing = list[nn.Module]()

    def make_sampler(before: nn.Module) -> Sampler:
        drawing.append(before)
        return tossed(before)

    practice = RewardLoop(RewardTask(make_sampler, surprise), trainer.fast, ask)
    for step in range(61):
        trainer.update(practice.loss(step), 0.0)
    (before,) = drawing
    assert isinstance(before, Coin)
    assert 0.5 < before.chance() < coin.chance()


def test_one_who_draws_all_right_has_nothing_to_learn_and_says_so() -> None:
    coin = Coin()
    coin.lean.data.fill_(50)
    with pytest.raises(SystemExit, match="nothing to learn"):
        RewardLoop(RewardTask(tossed, surprise), coin, ask).loss(0)


def test_what_is_asked_for_is_of_every_kind_and_never_held_out() -> None:
    rng = random.Random(2)
    asked = [sample_prompt(rng) for _ in range(800)]
    assert {one.kind for one in asked} == set(world.KINDS)
    assert not any(world.held_out(one.scene) for one in asked)


@pytest.mark.parametrize("how", ["practise", "widen"])
def test_who_cannot_go_on_like_this_is_told_who_can(
    how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "clip", f"--{how}", "5"])
    assert f"clip can't {how}; these can: diffusion, masked" in capsys.readouterr().err


def test_what_is_new_is_said_to_widen_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--refine", "5"], []):
        with pytest.raises(SystemExit):
            main(["train", "masked", "--new", "textured", *more])
        assert "--new goes with --widen STEPS" in capsys.readouterr().err


def test_one_right_picture_among_many_wrong_ones_counts_most() -> None:
    assert advantages([True, False, False, False]) == pytest.approx(
        [1.0, 0.211, 0.211, 0.211], abs=1e-3
    )
    assert advantages([True, True, True, False]) == pytest.approx(
        [0.789, 0.789, 0.789, 0.0], abs=1e-3
    )
    assert advantages([True, True]) == advantages([False, False]) == [0.5, 0.5]


class Guess(nn.Module):
    """Predicts v for codes of a single number, sure that the clean one is `clean`."""

    def __init__(self) -> None:
        super().__init__()
        self.clean = nn.Parameter(torch.zeros(1))

    def velocity(self, noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return v = signal_scale * noise - noise_scale * clean, the noise solved from `noisy`."""
        signal_scale = ALPHAS_CUMPROD[times].sqrt()[:, None, None, None]
        noise_scale = (1 - ALPHAS_CUMPROD[times]).sqrt()[:, None, None, None]
        return (signal_scale * noisy - self.clean) / noise_scale


ALPHAS_CUMPROD = torch.linspace(0.9, 0.0, 1000)


@pytest.mark.parametrize(("advantage", "sign"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_velocities_go_to_right_pictures_and_away_from_wrong_ones(
    advantage: float, sign: int
) -> None:
    learner, before = Guess(), Guess()

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, _: list[str]
    ) -> torch.Tensor:
        assert isinstance(model, Guess)
        return model.velocity(noisy, times)

    batch = Batch(["a red star"] * 64, torch.ones(64, 1, 1, 1), torch.full((64,), advantage))
    VelocityObjective(velocity, ALPHAS_CUMPROD, late=0.6).loss(learner, before, batch).backward()
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
    view = recognize(world.draw(replace(STAR, things=(drawn,))))
    assert satisfies(view, replace(STAR, things=(asked,)), full) is fine


def test_a_model_in_the_fast_type_works_among_models_in_fp32() -> None:
    model = cast_at_boundary(nn.Linear(4, 4).to(fastest_dtype()))
    drawn = model(torch.ones(2, 4))
    assert drawn.dtype is torch.float32


def by_masked(sentences: list[str]) -> torch.Tensor:
    """Codes as the masked miniature draws them while it practises."""
    pipe = AmusedPipeline.from_pretrained(str(masked.FOLDER))
    token_model = masked.MaskedTokenModel(pipe.transformer, pipe.text_encoder)
    return masked.sample_tokens(token_model.eval(), clip.TokenEncoder(pipe.tokenizer)(sentences))


def by_autoregressive(sentences: list[str]) -> torch.Tensor:
    """Codes as the autoregressive one does."""
    folder = str(autoregressive.FOLDER)
    token_model = autoregressive.TokenModel(JanusForConditionalGeneration.from_pretrained(folder))
    read = bpe.PromptEncoder(JanusProcessor.from_pretrained(folder).tokenizer)
    numbers, mask = read(sentences, [False] * len(sentences))
    return autoregressive.sample_tokens(token_model.eval(), numbers, mask).unflatten(
        1, (codebook.CELLS, -1)
    )


def by_discrete(sentences: list[str]) -> torch.Tensor:
    """Codes as the discrete one does."""
    pipe = open_folder(discrete.FOLDER)
    denoiser = discrete.DiscreteDenoiser(pipe.transformer, pipe.text_encoder).eval()
    codes = discrete.sample_tokens(denoiser, clip.TokenEncoder(pipe.tokenizer)(sentences))
    return codes.unflatten(1, (codebook.CELLS, -1))


def test_what_was_before_is_drawn_as_the_scheduler_says() -> None:
    torch.manual_seed(0)
    schedule, number, clean = cast(Any, discrete_noise.scheduler()), codebook.token_count(), 5
    sure = torch.full((1, number, 1), -70.0)
    sure[0, clean] = 0
    for now in (number, clean, 9):
        codes = torch.full((4000, 64), now)
        for time in (1, discrete_noise.TIMES // 2, discrete_noise.TIMES - 1):
            chances = schedule.q_posterior(sure, torch.tensor([[now]]), torch.tensor(time)).exp()
            found = discrete_noise.sample_previous(codes, torch.full_like(codes, clean), time)
            for token in (clean, 9, number):
                share = float((found == token).float().mean())
                assert share == pytest.approx(float(chances[0, token, 0]), abs=0.006)


@pytest.mark.parametrize("kind", world.KINDS)
def test_a_scene_s_tokens_show_the_scene_without_a_decoder(kind: str) -> None:
    rng = random.Random(7)
    for _ in range(20):
        scene = world.sample(rng, kind=kind)
        if len(scene.things) == 4 and scene.things[0].size == "large":
            continue  # no cell may be left that is all background
        assert satisfies(recognize(codebook.render(codebook.tokenize(scene))), scene, full=True)


@pytest.mark.parametrize("draw", [by_masked, by_discrete, by_autoregressive])
def test_families_of_tokens_draw_for_practice_what_their_pipelines_draw(
    draw: Callable[[list[str]], torch.Tensor],
) -> None:
    torch.manual_seed(3)
    codes = draw([EXAMPLE] * 16)
    assert codes.shape == (16, codebook.CELLS, codebook.CELLS)
    assert int(codes.max()) < codebook.token_count()  # none is still masked
    views = [recognize(codebook.render(each)) for each in codes]
    right = [
        view.background == "white"
        and [(thing.colour, thing.shape) for thing in sorted(view.things, key=lambda t: t.x)]
        == [("red", "star"), ("blue", "ring")]
        for view in views
    ]
    assert sum(right) >= 8
