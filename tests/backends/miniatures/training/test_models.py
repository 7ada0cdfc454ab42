"""What the families' trainings rest on: words, noise, and scenes that are told from neighbours."""

import random
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from backends.miniatures import world
from backends.miniatures.training.evaluation.score import Count, Score, markdown_table
from backends.miniatures.world import captions
from backends.miniatures.world.shapes import HOLLOW


def scenes(count: int, kind: str | None = None) -> list[world.Scene]:
    rng = random.Random(3)
    return [world.sample(rng, kind=kind) for _ in range(count)]


def test_a_neighbour_is_another_scene_of_this_world() -> None:
    from backends.miniatures.training.models.clip import neighbour

    rng = random.Random(0)
    for scene in scenes(200):
        other = neighbour(scene, rng)
        looks, before = (
            [(thing.shape, thing.colour, thing.outlined) for thing in each.things]
            for each in (other, scene)
        )
        same = looks == before
        assert all(thing.shape in HOLLOW for thing in other.things if thing.outlined)
        assert same == (other.texture != scene.texture)
        # It lies where the first one lay, on the same background, which no thing shares.
        if other.number == scene.number:
            assert [(t.x, t.y, t.size) for t in other.things] == [
                (t.x, t.y, t.size) for t in scene.things
            ]
        assert other.background == scene.background
        assert other.background not in {thing.colour for thing in other.things}


def test_tokens_are_masked_and_replaced_as_the_schedule_says() -> None:
    import torch

    from backends.miniatures.training.codecs import codebook
    from backends.miniatures.training.models.discrete_noise import TIMES, add_noise

    torch.manual_seed(0)
    codes = torch.full((2000, 64), 7)
    shares = dict[int, tuple[float, float]]()
    for time in (0, TIMES // 2, TIMES - 1):
        shown, touched = add_noise(codes, torch.full((len(codes),), time))
        masked = shown == codebook.token_count()
        assert not (masked & ~touched).any()
        assert (shown[~touched] == 7).all()
        replaced = touched & ~masked
        shares[time] = float(masked.float().mean()), float(replaced.float().mean())
    assert max(shares[0]) < 0.01
    # At the end nine tenths are masked and the others are anything (VQ-Diffusion, section 4.1).
    assert shares[TIMES - 1] == pytest.approx((0.9, 0.1), abs=0.01)
    assert shares[TIMES // 2] == pytest.approx((0.46, 0.05), abs=0.03)


@pytest.mark.parametrize("text", ["", "🎉 مرحبا", "a red star left of a blue ring."])
def test_any_text_has_tokens_and_the_world_s_words_have_one_each(text: str) -> None:
    from backends.miniatures.training.text import bpe as vocabulary
    from backends.miniatures.training.text import t5 as reader

    t5, bpe = reader.build_tokenizer(), vocabulary.build()
    for tokenizer in (t5, bpe):
        assert tokenizer(text)["input_ids"]
        for word in captions.vocabulary():
            if word.isalpha():
                assert len(tokenizer.tokenize(word)) == 1, word


def test_a_prompt_is_padded_on_the_left_and_its_words_can_be_blanked() -> None:
    from backends.miniatures.training.text import bpe as vocabulary

    tokenizer = vocabulary.build()
    start, pad, image = (
        tokenizer.convert_tokens_to_ids(token)
        for token in (vocabulary.START, vocabulary.PAD, vocabulary.IMAGE_START)
    )
    sentences = ["a red star", "a red star left of a blue ring"]
    numbers, mask = vocabulary.PromptEncoder(tokenizer)(sentences, [False, True])
    assert numbers.shape == mask.shape == (2, 10)
    assert mask.sum(1).tolist() == [5, 10]
    assert numbers[0, 5] == start and numbers[0, -1] == image
    # transformers' own guidance asks with padding for every word, and so it must be known.
    assert numbers[1].tolist() == [start, *[pad] * 8, image]


def test_the_miniature_clip_reads_the_sentence_and_not_the_colours_alone() -> None:
    from backends.miniatures.training.models.clip import load_scorer, neighbour

    rng = random.Random(7)
    asked = scenes(60, kind="pair")
    told = [captions.write(scene, rng, vague=0, loose=0) for scene in asked]
    near = [captions.write(neighbour(scene, rng), rng, vague=0, loose=0) for scene in asked]
    pictures = [world.draw(scene) for scene in asked]
    own = load_scorer().cosines(pictures, told)
    found = [int(row.argmax()) == index for index, row in enumerate(own)]
    assert sum(found) > 54
    better = own.diagonal() > load_scorer().cosines(pictures, near).diagonal()
    assert float(better.float().mean()) > 0.8
    assert float(load_scorer().scores(pictures, told).min()) >= 0


def test_the_score_table_has_a_row_for_each_family() -> None:
    told = Score("masked", 10_700_000, 21.7, 32, 0.98, 1.71, {"single object": Count(96, 100)})
    head, line, row = markdown_table([told])
    assert head.count("|") == line.count("|") == row.count("|")
    assert row.startswith("| masked | 10.7 M | 21.7 | 32 | 0.98 | 96% |")
    assert row.endswith("| 1.71 |")


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_cascade_s_stage_learns_in_the_number_type_that_a_processor_is_fastest_in(
    kind: str,
) -> None:
    import torch

    from backends.miniatures.training.models import cascade
    from backends.miniatures.training.text import t5 as reader

    tokenizer = reader.build_tokenizer()
    denoiser = cascade.PixelDenoiser(cascade.build(), reader.build(tokenizer)).to(
        getattr(torch, kind)
    )
    told = reader.PromptEncoder(tokenizer)(["a red star"])
    drawn = denoiser(torch.randn(1, 3, cascade.SIDE, cascade.SIDE), torch.tensor([500]), told)
    assert drawn.shape == (1, 3, cascade.SIDE, cascade.SIDE) and drawn.dtype == torch.float32
    drawn.square().mean().backward()
    first = denoiser.unet.conv_in.weight
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in denoiser.encoder.parameters())


def test_what_there_is_to_see_counts_most_and_a_texture_is_something_to_see() -> None:
    from backends.miniatures.training.loop import dataset

    (star,) = scenes(1, kind="single")
    place = star.things[0]
    woven = replace(star, texture="striped")
    plain, textured = dataset.loss_weights([star, woven], side=16, emphasis=5)
    column, row = int(place.x // 8), int(place.y // 8)
    assert plain[0, row, column] == pytest.approx(5 * float(plain.min()))
    ground, thing = float(textured.min()), float(textured[0, row, column])
    assert ground < thing < 5 * ground, "something between"


def test_a_decoder_that_stood_still_while_another_part_learned_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from backends.miniatures.training.codecs import codebook, decoder
    from backends.miniatures.training.loop import dataset
    from backends.miniatures.training.models import autoregressive
    from backends.miniatures.training.text import bpe as vocabulary

    monkeypatch.chdir(tmp_path)  # checkpoints lie below the folder that one is in
    model = autoregressive.build(vocabulary.build())
    vq = autoregressive.TokenModel(model).model.model.vqmodel  # frozen, as `refine` has it
    before = vq.decoder.conv_out.weight.clone()
    drawn = torch.stack([codebook.tokenize(scene) for scene in dataset.training_scenes(4)]).flatten(
        1
    )
    plan = decoder.DecoderPlan(
        name="short", steps=2, depth=codebook.TOKEN, batch=2, full_size_share=1
    )
    decoder.train(plan, vq, drawn, cast(decoder.Lookup, vq.quantize.get_codebook_entry))
    assert not torch.equal(vq.decoder.conv_out.weight, before)
