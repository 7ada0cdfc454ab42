"""The rule that scores the miniatures: it passes true pictures and fails false ones."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from backends.miniatures import world
from backends.miniatures.world.adherence import Verdict, judge
from backends.miniatures.world.recognition import Recognition, connected_components, recognize
from backends.miniatures.world.scene import COLOURS, SHAPES, SIZES, Scene, Thing
from backends.miniatures.world.textures import TEXTURES, texture_coverage

COUNT = 75


def scenes(count: int, *, kind: str, seed: int) -> list[Scene]:
    rng = random.Random(seed)
    return [world.sample(rng, kind=kind) for _ in range(count)]


def seen(scene: Scene) -> Recognition:
    return recognize(world.draw(scene))


def all_right(verdict: Verdict) -> bool:
    return all(
        getattr(verdict, name)
        for name in (
            "count",
            "shapes",
            "colours",
            "background",
            "sizes",
            "position",
            "relation",
            "binding",
        )
    )


@pytest.mark.parametrize("kind", world.KINDS)
def test_true_pictures_pass(kind: str) -> None:
    drawn = scenes(COUNT, kind=kind, seed=1)
    passed = sum(all_right(judge(seen(scene), scene)) for scene in drawn)
    assert passed >= 0.99 * COUNT


@pytest.mark.parametrize("kind", world.KINDS)
def test_slightly_soft_pictures_pass(kind: str) -> None:
    drawn = scenes(60, kind=kind, seed=2)
    soft = ImageFilter.GaussianBlur(0.6)
    views = [recognize(world.draw(scene).filter(soft)) for scene in drawn]
    passed = sum(
        judge(v, s).shapes and judge(v, s).colours for v, s in zip(views, drawn, strict=True)
    )
    assert passed >= 57


def other(value: str, choices: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice([choice for choice in choices if choice != value])


def swapped(scene: Scene, attribute: str, rng: random.Random) -> Scene:
    """The same scene with one attribute changed, so that its picture is no longer the scene's."""
    thing = scene.things[0]
    taken = {scene.background, *(one.colour for one in scene.things)}
    free = tuple(colour for colour in COLOURS if colour not in taken)
    match attribute:
        case "shapes":
            changed = replace(thing, shape=other(thing.shape, SHAPES, rng))
        case "colours":
            changed = replace(thing, colour=rng.choice(free))
        case "sizes":
            size = other(thing.size, tuple(SIZES), rng)
            changed = replace(thing, size=size, radius=SIZES[size])
        case "texture":
            textures = (*TEXTURES, None)
            return replace(scene, texture=rng.choice([t for t in textures if t != scene.texture]))
        case "background":
            return replace(scene, background=rng.choice(free))
        case "position":
            x, y = (thing.x + 64) % 128, (thing.y + 64) % 128
            changed = replace(thing, x=min(max(x, 32), 96), y=min(max(y, 32), 96))
        case "relation":
            first, second = scene.things
            flipped = (
                replace(first, x=second.x, y=second.y),
                replace(second, x=first.x, y=first.y),
            )
            return replace(scene, things=flipped)
        case "binding":
            first, second = scene.things
            crossed = (
                replace(first, colour=second.colour),
                replace(second, colour=first.colour),
            )
            return replace(scene, things=crossed)
        case _:
            raise ValueError(attribute)
    return replace(scene, things=(changed, *scene.things[1:]))


@pytest.mark.parametrize(
    ("attribute", "kind"),
    [
        ("shapes", "single"),
        ("shapes", "pair"),
        ("colours", "single"),
        ("colours", "pair"),
        ("sizes", "single"),
        ("background", "single"),
        ("background", "pair"),
        ("position", "single"),
        ("relation", "pair"),
        ("binding", "pair"),
        ("background", "textured"),
    ],
)
def test_pictures_with_one_attribute_swapped_fail(attribute: str, kind: str) -> None:
    rng = random.Random(3)
    fooled = total = 0
    for scene in scenes(COUNT, kind=kind, seed=4):
        looks = {(thing.shape, thing.colour) for thing in scene.things}
        if attribute == "position" and scene.position in (None, "centre"):
            continue
        if attribute == "binding" and len({colour for _, colour in looks}) < 2:
            continue
        if attribute == "binding" and len({shape for shape, _ in looks}) < 2:
            continue
        total += 1
        fooled += getattr(judge(seen(swapped(scene, attribute, rng)), scene), attribute)
    assert total > COUNT / 2
    assert fooled <= 0.02 * total


def test_another_texture_or_none_is_noticed_and_one_where_none_was_asked_for() -> None:
    rng = random.Random(9)
    for scene in scenes(60, kind="textured", seed=9) + scenes(60, kind="single", seed=9):
        assert judge(seen(scene), scene).background
        changed = swapped(scene, "texture", rng)
        found = judge(seen(changed), scene)
        assert not found.background and not found.textured


def test_what_is_outlined_is_not_filled_and_the_other_way_round() -> None:
    for scene in scenes(75, kind="outlined", seed=11):
        things = tuple(replace(thing, outlined=False) for thing in scene.things)
        filled = replace(scene, things=things)
        assert judge(seen(scene), scene).outlined
        for drawn, asked in ((filled, scene), (scene, filled)):
            found = judge(seen(drawn), asked)
            assert found.count and not (found.shapes or found.binding or found.outlined)


def test_a_texture_whose_second_tone_is_another_colour_has_no_name() -> None:
    red, green = (np.array(COLOURS[colour]) for colour in ("red", "green"))
    for texture in TEXTURES:
        cover = texture_coverage(texture, world.SIDE)[..., None]
        view = recognize(Image.fromarray((red + cover * (green - red)).astype(np.uint8)))
        assert view.texture == texture and view.background is None


def test_a_group_with_one_too_many_or_too_few_is_noticed() -> None:
    for scene in scenes(60, kind="group", seed=7):
        fewer = replace(scene, things=scene.things[1:])
        assert judge(seen(scene), scene).counted
        assert not judge(seen(fewer), scene).counted
        if len(fewer.things) > 1:
            assert not judge(seen(scene), fewer).counted


def test_one_thing_of_a_group_that_looks_different_is_noticed() -> None:
    rng = random.Random(8)
    for scene in scenes(60, kind="group", seed=8):
        for attribute in ("shapes", "colours"):
            assert not judge(seen(swapped(scene, attribute, rng)), scene).counted


def test_a_missing_and_an_extra_thing_are_noticed() -> None:
    for scene in scenes(50, kind="pair", seed=5):
        alone = replace(scene, things=scene.things[:1], relation=None)
        assert not judge(seen(alone), scene).two_objects
        assert not judge(seen(scene), alone).single_object


def test_anything_at_all_can_be_looked_at() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    scene = scenes(1, kind="pair", seed=6)[0]
    for picture in (
        Image.fromarray(noise),
        Image.new("RGB", (128, 128), "white"),
        Image.new("L", (40, 90)),
        Image.new("RGBA", (300, 200)),
    ):
        assert not judge(recognize(picture), scene).two_objects


def test_a_large_picture_is_judged_like_a_small_one() -> None:
    thing = Thing("star", "red", "medium", 64, 64, 18.5)
    scene = Scene("white", (thing,), position="centre")
    large = world.draw(scene).resize((512, 512), Image.Resampling.BICUBIC)
    assert judge(recognize(large), scene).single_object


def test_components_of_a_spiral_are_one() -> None:
    mask = np.zeros((64, 64), dtype=np.bool_)
    for ring in range(2, 30, 4):
        mask[ring, ring : 64 - ring] = True
        mask[ring : 64 - ring, 63 - ring] = True
        mask[63 - ring, ring : 64 - ring] = True
        mask[ring + 4 : 64 - ring, ring] = True
        mask[ring + 4, ring : ring + 5] = True
    assert len(connected_components(mask)) == 1
