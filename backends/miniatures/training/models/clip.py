"""The miniature CLIP: an ordinary `CLIPModel`, trained on this world's pictures and captions.

Two encoders learn to map a picture and its caption to the same direction, and different ones for
all others in the batch (CLIP, arXiv 2103.00020). In a batch of random scenes colours alone identify
a scene, so every scene comes with a neighbour that differs in one word or in the order of two, as
in NegCLIP (2210.01936): to separate "a red star left of a blue ring" from "a blue star left of a
red ring" the model must read the word order. Its cosine gives the offline CLIPScore (2104.08718).
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

from backends.miniatures import world
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import ModelBundle, export
from backends.miniatures.training.loop.trainer import Stage, Trainer, delete_checkpoints, run_stage
from backends.miniatures.training.text import clip
from backends.miniatures.world import captions
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
"""Factor of the cosine in CLIPScore (section 3 of its paper)."""


def build(reader: CLIPTextModelWithProjection) -> CLIPModel:
    """Return an untrained model whose text side is `reader`'s."""
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
    """Return a scene that differs in one word, or a pair with shapes or colours swapped.

    A group may differ in number instead; captions do not state where its things lie.
    """
    if scene.texture and rng.random() < 0.4:
        return replace(scene, texture=rng.choice([t for t in TEXTURES if t != scene.texture]))
    if any(thing.outlined for thing in scene.things) and rng.random() < 0.4:
        return replace(scene, things=tuple(replace(t, outlined=False) for t in scene.things))
    if scene.number > 1:
        return _neighbouring_group(scene, rng)
    if scene.relation and rng.random() < 0.6:
        first, second = scene.things
        outlined = first.outlined or second.outlined  # which not all shapes can be
        field = "colour" if outlined else rng.choice(("colour", "shape"))
        if getattr(first, field) != getattr(second, field):
            swapped = (_copy_field(first, field, second), _copy_field(second, field, first))
            return replace(scene, things=swapped)
    index = rng.randrange(len(scene.things))
    changed = _change_thing(scene.things[index], scene, rng)
    return replace(
        scene, things=tuple(changed if i == index else t for i, t in enumerate(scene.things))
    )


def _neighbouring_group(scene: Scene, rng: random.Random) -> Scene:
    """Return a group with another number, or with another shape or colour."""
    first = scene.things[0]
    if rng.random() < 0.6:
        numbers = [number for number in world.GROUPS if number != scene.number]
        spots = world.group_places(first.radius, rng.choice(numbers), rng)
        return replace(scene, things=tuple(replace(first, x=x, y=y) for x, y in spots))
    changed = _change_thing(first, scene, rng)
    look = {"shape": changed.shape, "colour": changed.colour}
    return replace(scene, things=tuple(replace(each, **look) for each in scene.things))


def _copy_field(thing: Thing, field: str, other: Thing) -> Thing:
    """Return the thing with one field of another."""
    return replace(thing, **{field: getattr(other, field)})


def _change_thing(thing: Thing, scene: Scene, rng: random.Random) -> Thing:
    """Return the thing with another shape, or with a colour that the scene does not have yet."""
    if rng.random() < 0.5:
        shapes = HOLLOW if thing.outlined else SHAPES
        return replace(thing, shape=rng.choice([s for s in shapes if s != thing.shape]))
    taken = {scene.background, *(each.colour for each in scene.things)}
    free = [colour for colour in world.COLOURS if colour not in taken]
    if scene.texture:
        free = [colour for colour in free if world.is_distinct(colour, scene.background)]
    return replace(thing, colour=rng.choice(free))


def image_processor() -> CLIPImageProcessor:
    """Return the preprocessor of pictures: values from -1 to 1, whole cells averaged."""
    side = {"height": world.SIDE, "width": world.SIDE}
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessor(
        size=side, crop_size=side, image_mean=half, image_std=half, resample=Image.Resampling.BOX
    )


def train() -> None:
    """Train (or resume) on the masked miniature's text encoder; exports periodically."""
    saved = str(MINIATURES / "masked")
    reader = CLIPTextModelWithProjection.from_pretrained(saved, subfolder="text_encoder")
    tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(saved, subfolder="tokenizer"))
    train_encoders(build(reader), tokenizer, Stage("clip", STEPS, RATE))


def refine(steps: int) -> None:
    """Continue from the committed weights for `steps` steps."""
    stage = Stage("clip-refined", steps, RATE / 2)
    tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(str(FOLDER)))
    train_encoders(CLIPModel.from_pretrained(str(FOLDER)), tokenizer, stage)
    delete_checkpoints(stage.name)


def train_encoders(model: CLIPModel, tokenizer: CLIPTokenizer, stage: Stage) -> None:
    """Train both encoders, the pretrained text side at a lower rate."""
    trainer = Trainer(
        model, rate=stage.rate, slow_group=("text_model.", 0.3), matrices="vision_model.encoder."
    )
    fast = cast(CLIPModel, trainer.fast)
    fast.set_attn_implementation("eager")
    encode_captions, rng = clip.TokenEncoder(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(PAIRS)]
        scenes += [neighbour(scene, rng) for scene in scenes]
        pictures: list[Any] = [world.draw(scene) for scene in scenes]
        sentences = [captions.write(scene, rng, vague=0, loose=0) for scene in scenes]
        numbers = encode_captions(sentences)
        output = fast(
            input_ids=numbers,
            attention_mask=torch.ones_like(numbers),
            pixel_values=dataset.to_tensor(pictures).to(fast.dtype),
            return_loss=True,
        )
        return output.loss

    average = cast(CLIPModel, trainer.average)
    run_stage(
        stage.name,
        trainer,
        stage.steps,
        loss,
        on_checkpoint=lambda: export(ModelBundle(average, tokenizer, image_processor()), FOLDER),
    )


class ClipScorer(nn.Module):
    """The exported model, for scoring pictures."""

    def __init__(self) -> None:
        super().__init__()
        self._model = CLIPModel.from_pretrained(str(FOLDER)).eval()
        tokenizer = cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(str(FOLDER)))
        self._read = clip.TokenEncoder(tokenizer)

    @torch.no_grad()
    def cosines(self, pictures: list[Image.Image], sentences: list[str]) -> torch.Tensor:
        """Return the cosine of every picture and every sentence: (pictures, sentences), from -1
        to 1.
        """
        sized: list[Any] = [picture.resize((world.SIDE, world.SIDE)) for picture in pictures]
        numbers = self._read(sentences)
        output = self._model(
            input_ids=numbers,
            attention_mask=torch.ones_like(numbers),
            pixel_values=dataset.to_tensor(sized),
        )
        return output.image_embeds @ output.text_embeds.T

    def scores(self, pictures: list[Image.Image], sentences: list[str]) -> torch.Tensor:
        """Return the CLIPScore of each picture with its sentence, from 0 to 2.5: (pictures,)."""
        return WEIGHT * self.cosines(pictures, sentences).diagonal().clamp_min(0)


@cache
def load_scorer() -> ClipScorer:
    """Load the model, once per process."""
    return ClipScorer()
