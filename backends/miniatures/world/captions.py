"""Write captions for scenes, in several wordings.

A caption never states anything untrue of its scene, but may omit things: sizes, the position, the
relation, and the background where it is flat and the default one (`Scene.default_background`).
"""

import random
from collections.abc import Mapping
from typing import Any, Final

from backends.miniatures.world.scene import INVERSE, Scene, Thing

OPENINGS: Final = (
    "a picture of",
    "a drawing of",
    "an image of",
    "an illustration of",
    "a photo of",
    "there is",
    "draw",
)
OPENINGS_OF_SEVERAL: Final = tuple(words for words in OPENINGS if words != "there is")
SIZE_WORDS: Final = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "large", "big", "huge"),
}
COLOUR_WORDS: Final = {"grey": ("grey", "gray")}
SHAPE_WORDS: Final = {"circle": ("circle", "circle", "disc"), "cross": ("cross", "cross", "plus")}
TEXTURE_WORDS: Final = {
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "chequered"),
}
OUTLINE_WORDS: Final = ("outlined", "hollow")
NUMBER_WORDS: Final = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
VAGUE_WORDS: Final = ("shape", "thing", "object")

PLACES: Final = {
    "centre": ("in the centre", "in the center", "in the middle", "at the centre"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "near the top", "on top"),
    "bottom": ("at the bottom", "near the bottom"),
}
CORNER_FRAMES: Final = ("in the {} corner", "in the {}", "at the {}", "at the {} corner")

RELATION_WORDS: Final = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "above", "over", "on top of"),
    "below": ("below", "below", "under", "beneath", "underneath"),
}
LOOSE_WORDS: Final = {"left of": ("and", "next to", "beside"), "above": ("and",)}

BACKGROUND_FRAMES: Final = (
    "on a {} background",
    "on a {} background",
    "against a {} background",
    "with a {} background",
    "against {}",
    "on {}",
    ", {} background",
)


def write(
    scene: Scene,
    rng: random.Random,
    *,
    vague: float = 0.03,
    loose: float = 0.08,
    full: bool = False,
) -> str:
    """Return one random caption of the scene.

    Each shape word is replaced by a vague one with probability `vague`, the relation of a pair is
    left open with probability `loose`. A `full` caption names sizes, position and background in any
    case.
    """
    article = rng.choices(("a", "the", ""), (0.84, 0.08, 0.08))[0]
    if scene.number > 1:
        alike = _noun_phrase(scene.things[0], "", rng, vague, full)
        phrases = [f"{rng.choice(NUMBER_WORDS[scene.number])} {plural(alike)}"]
    else:
        phrases = [_noun_phrase(thing, article, rng, vague, full) for thing in scene.things]
    if scene.relation is not None:
        first, second = phrases
        relation = scene.relation
        if rng.random() < 0.5:
            first, second, relation = second, first, INVERSE[relation]
        words = LOOSE_WORDS[scene.relation] if rng.random() < loose else RELATION_WORDS[relation]
        sentence = f"{first} {rng.choice(words)} {second}"
    else:
        (sentence,) = phrases
        if scene.position is not None and (full or rng.random() < 0.65):
            place = _place_words(scene.position, rng)
            sentence = f"{place} {sentence}" if rng.random() < 0.08 else f"{sentence} {place}"
    names_background = full or scene.texture or scene.background != scene.default_background
    if names_background or rng.random() < 0.5:
        background = rng.choice(BACKGROUND_FRAMES).format(_background_words(scene, rng))
        background = background.replace(" a o", " an o")
        sentence = sentence + ("" if background.startswith(",") else " ") + background
    if article and rng.random() < 0.3:
        openings = OPENINGS if scene.number == 1 else OPENINGS_OF_SEVERAL
        sentence = f"{rng.choice(openings)} {sentence}"
    return sentence + ("." if rng.random() < 0.08 else "")


def _noun_phrase(thing: Thing, article: str, rng: random.Random, vague: float, full: bool) -> str:
    """Return article, size, colour, outline and shape of a thing, each in a random wording."""
    words: list[str] = []
    if full or rng.random() < 0.5:
        words.append(rng.choice(SIZE_WORDS[thing.size]))
    words.append(_colour(thing.colour, rng))
    if thing.outlined:
        words.insert(len(words) - (rng.random() < 0.8), rng.choice(OUTLINE_WORDS))
    shapes = SHAPE_WORDS.get(thing.shape, (thing.shape,))
    words.append(rng.choice(VAGUE_WORDS if rng.random() < vague else shapes))
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join(filter(None, (article, *words)))


def _colour(colour: str, rng: random.Random) -> str:
    """Return a random spelling of a colour."""
    return rng.choice(COLOUR_WORDS.get(colour, (colour,)))


def _background_words(scene: Scene, rng: random.Random) -> str:
    """Return the background's colour and texture, in either order."""
    words = [_colour(scene.background, rng)]
    if scene.texture:
        words.insert(rng.random() < 0.2, rng.choice(TEXTURE_WORDS[scene.texture]))
    return " ".join(words)


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    return noun + ("es" if noun.endswith("s") else "s")


def _place_words(position: str, rng: random.Random) -> str:
    """Return a random wording of a named position."""
    if position in PLACES:
        return rng.choice(PLACES[position])
    return rng.choice(CORNER_FRAMES).format(position)


def vocabulary() -> tuple[str, ...]:
    """Return every word and punctuation mark that a caption can hold, sorted; for the
    tokenizers.
    """
    from backends.miniatures.world.scene import COLOURS, SHAPES

    sources: list[str] = [*OPENINGS, *VAGUE_WORDS, *CORNER_FRAMES, *BACKGROUND_FRAMES, *COLOURS]
    sources += [*SHAPES, *OUTLINE_WORDS, "the", "an"]
    sources += [plural(word) for word in (*SHAPES, *VAGUE_WORDS, "disc", "plus")]
    tables: list[Mapping[Any, tuple[str, ...]]] = [SIZE_WORDS, COLOUR_WORDS, SHAPE_WORDS, PLACES]
    tables += [RELATION_WORDS, LOOSE_WORDS, TEXTURE_WORDS, NUMBER_WORDS]
    for table in tables:
        sources += [wording for wordings in table.values() for wording in wordings]
    text = " ".join(sources).replace("{}", " ").replace(",", " ")
    return tuple(sorted({*text.split(), ",", "."}))
