"""Going on with a wider world: what is new is learned, what was known stays as it was."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.finetuning import continual
from backends.miniatures.training.finetuning.curriculum import (
    Curriculum,
    EncodedScenes,
    balanced_kinds,
    kind_of,
)
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.trainer import Stage
from backends.miniatures.training.text import clip
from backends.miniatures.world import captions


class Says(nn.Module):
    """Has one opinion about every token: the same logits everywhere."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, codes: torch.Tensor, judged: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(*codes.shape, -1)[judged]


def test_every_second_scene_is_new_and_without_a_past_scenes_come_as_they_come() -> None:
    for new in world.KINDS:
        curriculum = Curriculum(nn.Identity(), new)
        scenes = curriculum.scenes(40)
        assert curriculum.is_new(scenes).tolist() == [True, False] * 20
        assert {kind_of(scene) for scene in scenes} == set(world.KINDS)
    shown = Curriculum(balanced=True)
    assert [kind_of(scene) for scene in shown.scenes(20)] == [*balanced_kinds("outlined")] * 2
    assert 5 < shown.is_new(Curriculum().scenes(200)).sum() < 80


def test_of_old_scenes_a_model_is_to_think_what_it_thought_of_new_ones_the_truth() -> None:
    torch.manual_seed(0)
    before = Says(torch.randn(codebook.token_count()))
    learner = copy.deepcopy(before)
    with torch.no_grad():  # no thought of strokes, whatever the logits were
        learner.logits[codebook.background_end() :] = -30
    scenes = random.Random(1).sample(Curriculum(before).scenes(8), 8)
    new = Curriculum(before).is_new(scenes)
    codes = torch.stack([codebook.tokenize(scene) for scene in scenes])
    everywhere, drawn_so = torch.ones_like(codes).bool(), EncodedScenes(scenes, codes)
    errors = Curriculum(before).token_errors(learner, (codes, everywhere), drawn_so).view(8, -1)
    (pull,) = torch.autograd.grad(errors[~new].sum(), learner.logits, retain_graph=True)
    assert pull.abs().max() < 1e-3
    (pull,) = torch.autograd.grad(errors[new].sum(), learner.logits)
    drawn = F.one_hot(codes[new].flatten(), codebook.token_count()).sum(0)
    assert pull[drawn > 0].max() < 0 and (drawn[codebook.background_end() :] > 0).any()
    alone = Curriculum().token_errors(learner, (codes, everywhere), drawn_so).view(8, -1)
    assert torch.allclose(alone[new], errors[new]) and not torch.allclose(alone, errors)


def test_what_knows_strokes_keeps_them_when_something_else_is_new() -> None:
    torch.manual_seed(0)
    before = Says(torch.randn(codebook.token_count()))
    curriculum = Curriculum(before, "textured")
    scenes = [scene for scene in curriculum.scenes(200) if kind_of(scene) == "outlined"]
    codes = torch.stack([codebook.tokenize(scene) for scene in scenes])
    given, drawn_so = (codes, torch.ones_like(codes).bool()), EncodedScenes(scenes, codes)
    learner = copy.deepcopy(before)
    errors = curriculum.token_errors(learner, given, drawn_so)
    (pull,) = torch.autograd.grad(errors.mean(), learner.logits)
    assert len(scenes) > 10 and pull.abs().max() < 1e-6


def test_a_painter_s_target_is_the_truth_of_new_scenes_and_what_was_said_of_old_ones() -> None:
    scenes, truth = (
        random.Random(1).sample(Curriculum(nn.Identity()).scenes(6), 6),
        torch.randn(6, 3),
    )
    curriculum = Curriculum(nn.Identity())
    new = curriculum.is_new(scenes)
    wanted = curriculum.mixed_target(truth, scenes, lambda before, rows: before(7 * truth[rows]))
    assert torch.equal(wanted[new], truth[new])
    assert torch.allclose(wanted[~new], 7 * truth[~new])
    assert Curriculum().mixed_target(truth, scenes, lambda before, rows: truth[rows]) is truth


def test_a_model_that_grows_by_strokes_says_of_all_other_tokens_what_it_said() -> None:
    torch.manual_seed(0)
    known, further = codebook.background_end(), 1
    small, large = (
        nn.Embedding(known + further, 4),
        nn.Embedding(codebook.token_count() + further, 4),
    )
    table = continual.load_into_larger(small, large).weight.detach()
    assert torch.equal(table[:known], small.weight[:known])
    assert torch.equal(table[-further:], small.weight[-further:])
    assert torch.equal(
        continual.load_into_larger(large, nn.Embedding(codebook.token_count() + further, 4)).weight,
        table,
    )
    # A stroke begins as a filled piece of its colour.
    red = table[codebook.flat_token("red") : codebook.flat_token("orange")]
    heart = world.Thing("heart", "red", "large", 64, 64, 25.0, outlined=True)
    drawn = codebook.tokenize(world.Scene("white", (heart,))).flatten()
    strokes = table[drawn[drawn >= known]]
    assert len(strokes) > 5 and all((row == red).all(1).any() for row in strokes)


def test_after_a_break_a_model_is_still_told_what_it_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage, first = Stage("wider", 5, 1e-3), Says(torch.zeros(3))
    codes = torch.zeros(2, dtype=torch.int64), torch.ones(2).bool()
    assert continual.start_curriculum(first, stage).reference is not first
    exported_since = Says(torch.ones(3))
    again = continual.start_curriculum(exported_since, stage).reference
    assert again is not None and not again(*codes).any()
    continual.clean_up(stage)
    afresh = continual.start_curriculum(exported_since, stage).reference
    assert afresh is not None and again(*codes).sum() < afresh(*codes).sum()


def test_cached_codes_come_in_turns_too() -> None:
    scenes = dataset.training_scenes(200)
    curriculum = Curriculum(nn.Identity(), "textured")
    batches = curriculum.batches(torch.arange(200), scenes)
    chosen, _, drawn = batches.sample(40)
    assert curriculum.is_new(drawn).tolist() == [True, False] * 20
    assert [scenes[index] for index in chosen.tolist()] == drawn


def test_an_encoder_that_is_asked_says_more_of_what_is_new_and_the_same_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tokenizer = clip.write_tokenizer(tmp_path / "tokenizer")
    encoder = clip.build(tokenizer)
    read = clip.clip_encoding(tokenizer, "text_embeds")
    first = copy.deepcopy(encoder.state_dict())
    found = continual.extend_text_encoder(encoder, read, Stage("short", 24, 7e-4))
    assert all(torch.equal(value, first[name]) for name, value in encoder.state_dict().items())

    scenes = Curriculum(nn.Identity()).scenes(64)
    new = Curriculum().is_new(scenes)
    sentences = [captions.write(scene, Curriculum().rng) for scene in scenes]

    def said(model: Any) -> torch.Tensor:
        with torch.no_grad():
            return read(model, sentences)[0]

    moved = (said(found) - said(encoder)).square().mean(1)
    assert moved[new].mean() > 1.3 * moved[~new].mean()
