"""The world draws what a scene says, captions name what is drawn, and nothing held out leaks."""

import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from backends.miniatures import world
from backends.miniatures.world import captions, textures
from backends.miniatures.world.scene import COLOURS, SIDE, Scene, Thing
from backends.miniatures.world.textures import CELL, TEXTURES


def scenes(count: int, seed: int = 0, **wishes: object) -> list[Scene]:
    rng = random.Random(seed)
    return [world.sample(rng, **wishes) for _ in range(count)]  # pyright: ignore[reportArgumentType]


def test_a_picture_has_the_scene_s_colours_at_the_scene_s_places() -> None:
    for scene in scenes(100):
        pixels = np.asarray(world.draw(scene))
        assert pixels.shape == (SIDE, SIDE, 3)
        ground = world.draw(replace(scene, things=()))
        assert tuple(pixels[0, 0]) == ground.getpixel((0, 0))
        if scene.texture is None:
            assert ground.getcolors() == [(SIDE * SIDE, COLOURS[scene.background])]
        for thing in scene.things:
            # A ring is hollow: look at its band, half-way between its two radii.
            aside = thing.radius * 0.78 if thing.shape == "ring" else 0.0
            inside = COLOURS[scene.background if thing.outlined else thing.colour]
            assert tuple(pixels[int(thing.y), int(thing.x + aside)]) == inside


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_shows_two_tones_and_begins_anew_every_two_cells(texture: str) -> None:
    ground = world.draw(Scene("blue", (), texture=texture))
    pixels = np.asarray(ground).astype(int)
    for tone in (COLOURS["blue"], textures.second_tone(COLOURS["blue"])):
        assert (pixels == tone).all(2).mean() > 0.12
    squares = pixels.reshape(4, 2 * CELL, 4, 2 * CELL, 3).swapaxes(1, 2)
    assert (squares == squares[0, 0]).all()
    others = [world.draw(Scene("blue", (), texture=each)) for each in TEXTURES if each != texture]
    assert all(np.abs(pixels - np.asarray(other)).mean() > 20 for other in others)


def test_things_stand_out_from_both_tones_of_a_texture() -> None:
    textured = scenes(300, kind="textured")
    assert {scene.texture for scene in textured} == set(TEXTURES)
    for scene in textured:
        pixels = np.asarray(world.draw(replace(scene, things=()))).reshape(-1, 3).astype(int)
        for thing in scene.things:
            assert (
                np.linalg.norm(pixels - COLOURS[thing.colour], axis=1).min()
                >= world.MIN_CONTRAST - 1
            )


def test_an_outlined_thing_is_as_large_as_a_filled_one_but_hollow() -> None:
    for shape in world.SHAPES:
        thing = Thing(shape, "black", "large", 64, 64, 25)
        filled, hollow = (
            np.asarray(world.draw(Scene("white", (replace(thing, outlined=outlined),))))[:, :, 0]
            < 128
            for outlined in (False, True)
        )
        assert (hollow <= filled).all() and hollow.any(0).tolist() == filled.any(0).tolist()
        assert hollow.any(1).tolist() == filled.any(1).tolist()
        if shape != "ring":
            assert hollow.sum() < 0.9 * filled.sum() and not hollow[63:65, 63:65].any()


def test_outlined_things_are_large_and_a_group_is_outlined_as_a_whole() -> None:
    shares = set[float]()
    for scene in scenes(200, kind="outlined"):
        outlined = [thing for thing in scene.things if thing.outlined]
        assert scene.texture is None and outlined
        assert all(thing.size == "large" and thing.shape != "ring" for thing in outlined)
        assert scene.relation or len(outlined) == len(scene.things)
        shares.add(len(outlined) / len(scene.things))
    assert shares == {0.5, 1.0}
    others = [
        scene for kind in world.KINDS if kind != "outlined" for scene in scenes(50, kind=kind)
    ]
    assert not any(thing.outlined for scene in others for thing in scene.things)


def test_things_neither_touch_each_other_nor_the_border() -> None:
    for scene in scenes(300):
        for thing in scene.things:
            for at in (thing.x, thing.y):
                assert thing.radius <= at <= SIDE - thing.radius
        for first, second in combinations(scene.things, 2):
            gap = max(abs(first.x - second.x), abs(first.y - second.y))
            assert gap - first.radius - second.radius > 2


def test_a_loosened_scene_is_the_same_one_placed_by_hand() -> None:
    rng = random.Random(3)
    for scene in scenes(300, seed=4):
        loose = world.jitter(scene, rng)
        assert (loose.background, loose.relation) == (scene.background, scene.relation)
        for thing, moved in zip(scene.things, loose.things, strict=True):
            assert (moved.shape, moved.colour) == (thing.shape, thing.colour)
            assert abs(moved.x - thing.x) < world.GRID and abs(moved.y - thing.y) < world.GRID
            for at in (moved.x, moved.y):
                assert at - moved.radius > world.MARGIN - 1e-9 and at + moved.radius <= SIDE
        assert any(moved.x % world.GRID for moved in loose.things)


def test_edges_are_smooth() -> None:
    scene = Scene("white", (Thing("circle", "black", "large", 64, 64, 25),))
    levels = np.unique(np.asarray(world.draw(scene))[:, :, 0])
    assert len(levels) > 8


def test_a_pair_has_one_canonical_order() -> None:
    for scene in scenes(200, kind="pair"):
        first, second = scene.things
        assert scene.relation in ("left of", "above")
        if scene.relation == "left of":
            assert first.x < second.x
        else:
            assert first.y < second.y
        assert (first.shape, first.colour) != (second.shape, second.colour)


def test_a_group_is_of_two_to_four_things_that_look_alike() -> None:
    numbers = set[int]()
    for scene in scenes(200, kind="group"):
        looks = {(thing.shape, thing.colour, thing.size) for thing in scene.things}
        assert len(looks) == 1 and scene.relation is None and scene.position is None
        assert scene.number == len(scene.things)
        numbers.add(scene.number)
    assert numbers == {2, 3, 4}


def test_only_a_group_has_a_number() -> None:
    assert {scene.number for kind in ("single", "pair") for scene in scenes(50, kind=kind)} == {1}


def test_every_background_differs_from_the_things_on_it() -> None:
    for scene in scenes(300):
        assert scene.background not in {thing.colour for thing in scene.things}


def test_training_never_sees_what_is_held_out() -> None:
    assert not any(map(world.held_out, scenes(2000, seed=1)))
    assert all(map(world.held_out, scenes(50, seed=2, held_out_only=True)))


def test_about_a_tenth_is_held_out_and_always_the_same() -> None:
    singles = [
        Scene(background, (Thing(shape, colour, "small", 64, 64, 13),))
        for shape in world.SHAPES
        for colour in COLOURS
        for background in COLOURS
        if background != colour
    ]
    share = sum(map(world.held_out, singles)) / len(singles)
    assert 0.07 < share < 0.13
    moved = Scene("white", (Thing("star", "red", "large", 40, 40, 25),))
    still = Scene("white", (Thing("star", "red", "small", 64, 64, 13),))
    assert world.held_out(moved) == world.held_out(still)


def test_attributes_are_balanced() -> None:
    drawn = scenes(4000, seed=3)
    things = [thing for scene in drawn for thing in scene.things]
    for colour in COLOURS:
        assert 0.6 < sum(t.colour == colour for t in things) / len(things) * len(COLOURS) < 1.4
    for shape in world.SHAPES:
        share = sum(t.shape == shape for t in things) / len(things)
        assert 0.6 < share * len(world.SHAPES) < 1.4


def test_a_caption_names_what_is_drawn_and_nothing_else() -> None:
    rng = random.Random(4)
    known = set(captions.vocabulary())
    for scene in scenes(500, seed=5):
        caption = captions.write(scene, rng, vague=0)
        words = caption.replace(",", " , ").replace(".", " . ").split()
        assert set(words) <= known
        woven = [TEXTURES_BY_WORD[word] for word in words if word in TEXTURES_BY_WORD]
        assert woven == ([scene.texture] if scene.texture else [])
        named = [COLOURS_BY_WORD[word] for word in words if word in COLOURS_BY_WORD]
        things = scene.things[: 2 if scene.relation else 1]
        wanted = [thing.colour for thing in things]
        assert sorted(named) in (sorted(wanted), sorted([*wanted, scene.background]))
        hollow = sum(word in captions.OUTLINE_WORDS for word in words)
        assert hollow == sum(thing.outlined for thing in things)
        shapes = [SHAPES_BY_WORD[word] for word in words if word in SHAPES_BY_WORD]
        assert sorted(shapes) == sorted(thing.shape for thing in things)
        numbers = [NUMBERS_BY_WORD[word] for word in words if word in NUMBERS_BY_WORD]
        assert numbers == [scene.number] * (scene.number > 1)


def test_an_unnamed_background_is_the_default_one() -> None:
    rng = random.Random(6)
    for scene in scenes(500, seed=7):
        words = set(captions.write(scene, rng).replace(",", " ").replace(".", " ").split())
        spoken = {scene.background, "gray" if scene.background == "grey" else scene.background}
        if not words & spoken:
            assert scene.texture is None and scene.background == scene.default_background


def test_the_relation_is_told_from_either_side() -> None:
    scene = Scene(
        "white",
        (Thing("star", "red", "small", 30, 64, 13), Thing("ring", "blue", "small", 90, 64, 13)),
        relation="left of",
    )
    rng = random.Random(8)
    told = {captions.write(scene, rng, vague=0, loose=0) for _ in range(400)}
    for caption in told:
        star_first = caption.index("star") < caption.index("ring")
        assert ("left of" if star_first else "right of") in caption.replace("the left", "left") or (
            ("on the left of" if star_first else "on the right of") in caption
        )
    assert any(caption.index("star") > caption.index("ring") for caption in told)


@pytest.mark.parametrize(
    "module",
    ["backends.miniatures", "backends.miniatures.world.adherence", "backends.miniatures.__main__"],
)
def test_nothing_here_needs_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


COLOURS_BY_WORD = {colour: colour for colour in COLOURS} | {"gray": "grey"}
ONE_BY_WORD = {shape: shape for shape in world.SHAPES} | {"disc": "circle", "plus": "cross"}
SHAPES_BY_WORD = ONE_BY_WORD | {captions.plural(word): ONE_BY_WORD[word] for word in ONE_BY_WORD}
TEXTURES_BY_WORD = {
    word: texture for texture, words in captions.TEXTURE_WORDS.items() for word in words
}
NUMBERS_BY_WORD = {"two": 2, "2": 2, "three": 3, "3": 3, "four": 4, "4": 4}
