"""The miniature CLIP: an ordinary `CLIPModel` that was shown this world's pictures and captions.

Two encoders learn to give a picture and its caption the same direction, and different ones to all
others in the batch (CLIP, arXiv 2103.00020). A batch of random scenes is told apart by colours
alone, so every scene comes with a neighbour that differs in one word or in the order of two, as in
NegCLIP (2210.01936): whoever would tell "a red star left of a blue ring" from "a blue star left of
a red ring" must read the sentence. Its cosine is the offline CLIPScore (2104.08718).
"""

import random
from dataclasses import replace
from functools import cache
from typing import Any, Final, cast

import torch
from PIL import Image
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from backends.miniatures.training.codecs.autoencoder import to_tensor
from backends.miniatures.training.loop.export import Together, export
from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, run_stage
from backends.miniatures.training.text import clip
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.miniatures.world.scene import Scene, Thing
from backends.miniatures.world.shapes import HOLLOW, SHAPES
from backends.miniatures.world.textures import TEXTURES
from backends.paths import MINIATURES

STEPS: Final = 1400
PAIRS: Final = 48
"""Scenes in a batch, each with its neighbour."""
RATE: Final = 1e-3
WIDTH: Final = 128
FOLDER: Final = MINIATURES / "clip"
WEIGHT: Final = 2.5
"""By which CLIPScore stretches the cosine (section 3 of its paper)."""


def build(reader: CLIPTextModelWithProjection) -> CLIPModel:
    """An untrained model, but for its text side, which is `reader`'s."""
    vision: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": world.SIDE,
        "patch_size": world.TOKEN,
        "projection_dim": clip.WIDTH,
    }
    config = CLIPConfig(
        text_config=reader.config.to_dict(), vision_config=vision, projection_dim=clip.WIDTH
    )
    model = CLIPModel(config)
    missing = model.load_state_dict(reader.state_dict(), strict=False).unexpected_keys
    assert not missing, missing
    return model


def neighbour(scene: Scene, rng: random.Random) -> Scene:
    """A scene that differs in one word, or of a pair in which thing has which look.

    Of a group another number is as near as another look; where its things lie, no caption says.
    """
    if scene.texture and rng.random() < 0.4:
        return replace(scene, texture=rng.choice([t for t in TEXTURES if t != scene.texture]))
    if any(thing.outlined for thing in scene.things) and rng.random() < 0.4:
        return replace(scene, things=tuple(replace(t, outlined=False) for t in scene.things))
    if scene.number > 1:
        return _other_group(scene, rng)
    if scene.relation and rng.random() < 0.6:
        first, second = scene.things
        outlined = first.outlined or second.outlined  # which not all shapes can be
        field = "colour" if outlined else rng.choice(("colour", "shape"))
        if getattr(first, field) != getattr(second, field):
            swapped = (_with(first, field, second), _with(second, field, first))
            return replace(scene, things=swapped)
    index = rng.randrange(len(scene.things))
    changed = _changed(scene.things[index], scene, rng)
    return replace(
        scene, things=tuple(changed if i == index else t for i, t in enumerate(scene.things))
    )


def _other_group(scene: Scene, rng: random.Random) -> Scene:
    first = scene.things[0]
    if rng.random() < 0.6:
        numbers = [number for number in world.GROUPS if number != scene.number]
        spots = world.spots(first.radius, rng.choice(numbers), rng)
        return replace(scene, things=tuple(replace(first, x=x, y=y) for x, y in spots))
    changed = _changed(first, scene, rng)
    look = {"shape": changed.shape, "colour": changed.colour}
    return replace(scene, things=tuple(replace(each, **look) for each in scene.things))


def _with(thing: Thing, field: str, other: Thing) -> Thing:
    return replace(thing, **{field: getattr(other, field)})


def _changed(thing: Thing, scene: Scene, rng: random.Random) -> Thing:
    if rng.random() < 0.5:
        shapes = HOLLOW if thing.outlined else SHAPES
        return replace(thing, shape=rng.choice([s for s in shapes if s != thing.shape]))
    taken = {scene.background, *(each.colour for each in scene.things)}
    free = [colour for colour in world.COLOURS if colour not in taken]
    if scene.texture:
        free = [colour for colour in free if world.clear(colour, scene.background)]
    return replace(thing, colour=rng.choice(free))


def eyes() -> CLIPImageProcessor:
    """What makes the model's input of a picture: values from -1 to 1, whole cells averaged."""
    side = {"height": world.SIDE, "width": world.SIDE}
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessor(
        size=side, crop_size=side, image_mean=half, image_std=half, resample=Image.Resampling.BOX
    )


def train() -> None:
    """Train (or resume) on the masked miniature's text encoder; exports as it goes."""
    saved = str(MINIATURES / "masked")
    reader = CLIPTextModelWithProjection.from_pretrained(saved, subfolder="text_encoder")
    tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(saved, subfolder="tokenizer"))
    train_pair(build(reader), tokenizer, Stage("clip", STEPS, RATE))


def refine(steps: int) -> None:
    """Go on from the committed weights for `steps` steps."""
    stage = Stage("clip-refined", steps, RATE / 2)
    tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(str(FOLDER)))
    train_pair(CLIPModel.from_pretrained(str(FOLDER)), tokenizer, stage)
    forget(stage.name)


def train_pair(model: CLIPModel, tokenizer: CLIPTokenizer, stage: Stage) -> None:
    """Both encoders, the text side gently: it has learned to read already."""
    trainer = Trainer(
        model, rate=stage.rate, slow_group=("text_model.", 0.3), matrices="vision_model.encoder."
    )
    fast = cast(CLIPModel, trainer.fast)
    fast.set_attn_implementation("eager")
    read, rng = clip.Tokens(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(PAIRS)]
        scenes += [neighbour(scene, rng) for scene in scenes]
        pictures: list[Any] = [world.draw(scene) for scene in scenes]
        sentences = [captions.write(scene, rng, vague=0, loose=0) for scene in scenes]
        numbers = read(sentences)
        told = fast(
            input_ids=numbers,
            attention_mask=torch.ones_like(numbers),
            pixel_values=to_tensor(pictures).to(fast.dtype),
            return_loss=True,
        )
        return told.loss

    average = cast(CLIPModel, trainer.average)
    run_stage(
        stage.name,
        trainer,
        stage.steps,
        loss,
        look=lambda: export(Together(average, tokenizer, eyes()), FOLDER),
    )


class Judge(nn.Module):
    """The exported model, to score pictures with."""

    def __init__(self) -> None:
        super().__init__()
        self._model = CLIPModel.from_pretrained(str(FOLDER)).eval()
        tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(str(FOLDER)))
        self._read = clip.Tokens(tokenizer)

    @torch.no_grad()
    def cosines(self, pictures: list[Image.Image], sentences: list[str]) -> torch.Tensor:
        """How alike every picture and every sentence are: (pictures, sentences), from -1 to 1."""
        sized: list[Any] = [picture.resize((world.SIDE, world.SIDE)) for picture in pictures]
        numbers = self._read(sentences)
        told = self._model(
            input_ids=numbers,
            attention_mask=torch.ones_like(numbers),
            pixel_values=to_tensor(sized),
        )
        return told.image_embeds @ told.text_embeds.T

    def scores(self, pictures: list[Image.Image], sentences: list[str]) -> torch.Tensor:
        """The CLIPScore of each picture with its sentence, from 0 to 2.5: (pictures,)."""
        return WEIGHT * self.cosines(pictures, sentences).diagonal().clamp_min(0)


@cache
def judge() -> Judge:
    """The model is read once."""
    return Judge()
