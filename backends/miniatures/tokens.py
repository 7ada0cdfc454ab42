"""The discrete code: each cell of 16x16 pixels is one token, a colour and a piece of outline.

Things are centred on a grid and never share a cell, so all shapes in all sizes at all places are
made of a few hundred different pieces; a token names the piece and the colour of the thing that it
belongs to, and what is around a piece shows its background. The codebook is thus laid by rule: it
lists the world's patches. One learned the usual way (VQGAN, arXiv 2012.09841) was tried first: it
gave flat background a hundred codes that all decode alike, chosen by what else is in the picture,
and a masked model can't predict a coin toss. Cells of 8x8 were tried too: four times as many tokens
are filled in at each step, none knowing of the others, and shapes came out torn. What is learned
here is what turns tokens into pixels and pixels into tokens: the halves of an ordinary `VQModel`.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from functools import cache
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from backends.miniatures import autoencoder as kl
from backends.miniatures import data, decoder, world
from backends.miniatures.autoencoder import to_tensor
from backends.miniatures.precision import fast_type
from backends.miniatures.shapes import SHAPES, stamp
from backends.miniatures.training import Trainee, run_stage
from backends.miniatures.world import GRID, TOKEN

CELLS: Final = world.SIDE // TOKEN
CHANNELS: Final = 64
"""Of a code: three say its colour, the others where in the cell it is."""
LEVELS: Final = (16, 32, 64, 64, 64)
"""One halving more than the continuous autoencoder; a token's piece is all that deep layers see."""
ALIKE: Final = 0.02
"""Pieces whose mean coverage differs by less than this share of a cell count as one."""
EMPTY: Final = 0.01
DECODER_STEPS: Final = 2500
ENCODER_STEPS: Final = 1900
BATCH: Final = 12
SHARPNESS: Final = 2.0
"""How much each unit of squared distance to a token counts against it while reading is learnt, as
a logit. An error of values alone tells few pieces apart: they lie close together."""
SEEN: Final = 0.2
"""Share of the empty background that is judged at each step of that; most of a picture is empty."""

Piece: TypeAlias = NDArray[np.float32]
"""A cell's coverage by a thing, from 0 to 1: (TOKEN, TOKEN)."""


@cache
def pieces() -> NDArray[np.float32]:
    """The different pieces that things are made of, the first a full cell: (n, TOKEN, TOKEN)."""
    found = np.ones((1, TOKEN, TOKEN), np.float32)
    shifts = range(0, TOKEN, GRID)
    cuts = [
        _cut(shape, size, x, y)
        for shape in SHAPES
        for size in world.SIZES
        for x in shifts
        for y in shifts
    ]
    for cut in cuts:
        for piece in cut.reshape(-1, TOKEN, TOKEN):
            if piece.mean() >= EMPTY and np.abs(found - piece).mean((1, 2)).min() >= ALIKE:
                found = np.concatenate([found, piece[None]])
    return found


@cache
def _cut(shape: str, size: str, x: int, y: int) -> NDArray[np.float32]:
    """A shape in cells: (2n, 2n, TOKEN, TOKEN), its centre (x, y) pixels from the middle corner."""
    radius = world.SIZES[size]
    around = int(radius + 1 + max(x, y)) // TOKEN + 1
    side, middle = 2 * around * TOKEN, around * TOKEN
    coverage, corner = stamp(shape, middle + x, middle + y, radius)
    canvas = Image.new("L", (side, side))
    canvas.paste(coverage, corner)
    cells = (np.asarray(canvas) / 255).astype(np.float32)
    return cells.reshape(2 * around, TOKEN, 2 * around, TOKEN).swapaxes(1, 2)


@cache
def _spelled(shape: str, size: str, x: int, y: int) -> NDArray[np.int64]:
    """The piece's number for each cell of a shape, -1 where it is empty: (2n, 2n)."""
    cells = _cut(shape, size, x, y)
    numbers = np.full(cells.shape[:2], -1)
    for place in zip(*np.nonzero(cells.mean((2, 3)) >= EMPTY), strict=True):
        numbers[place] = np.abs(pieces() - cells[place]).mean((1, 2)).argmin()
    return numbers


@cache
def count() -> int:
    """How many tokens there are; they are numbered by colour, then by piece."""
    return len(world.COLOURS) * len(pieces())


def of(scene: world.Scene) -> torch.Tensor:
    """A scene's tokens: (CELLS, CELLS) of int64."""
    tokens = np.full((CELLS, CELLS), flat(scene.background))
    for thing in scene.things:
        x, y = int(thing.x), int(thing.y)
        numbers = _spelled(thing.shape, thing.size, x % TOKEN, y % TOKEN)
        around = len(numbers) // 2
        for row, column in np.argwhere(numbers >= 0):
            place = y // TOKEN - around + row, x // TOKEN - around + column
            tokens[place] = flat(thing.colour) + numbers[row, column]
    return torch.from_numpy(tokens)


def shown(codes: torch.Tensor) -> Image.Image:
    """The picture that tokens (CELLS, CELLS) stand for, by rule: a scene's are its picture again.

    What is around a piece is the background, here the commonest colour of full cells on the border.
    Where things leave no such cell, nothing tells it, and it is white. Judging needs no decoder for
    this, which would take most of the time.
    """
    colours, numbers = np.divmod(codes.numpy(), len(pieces()))
    palette = np.array(list(world.COLOURS.values()), np.float32)
    border = np.ones((CELLS, CELLS), np.bool_)
    border[1:-1, 1:-1] = False
    seen = colours[border & (numbers == 0)]
    ground = palette[np.bincount(seen, minlength=len(palette)).argmax() if len(seen) else -1]
    coverage = pieces()[numbers][..., None]
    cells = coverage * palette[colours][:, :, None, None] + (1 - coverage) * ground
    pixels = cells.swapaxes(1, 2).reshape(world.SIDE, world.SIDE, 3)
    return Image.fromarray(pixels.round().astype(np.uint8))


def flat(colour: str) -> int:
    """The token of a cell that is all of one colour."""
    return list(world.COLOURS).index(colour) * len(pieces())


@cache
def codebook() -> torch.Tensor:
    """What each token looks like: (count(), CHANNELS), alike for tokens that look alike."""
    looks = torch.from_numpy(pieces()).flatten(1)
    _, _, axes = torch.linalg.svd(looks - looks.mean(0), full_matrices=False)
    shown = (looks - looks.mean(0)) @ axes[: CHANNELS - 3].T
    shown = shown / shown.std()
    colours = torch.tensor(list(world.COLOURS.values())).float() / 85 - 1.5
    rows = [colours.repeat_interleave(len(shown), 0), shown.repeat(len(colours), 1)]
    return torch.cat(rows, 1)


def lookup(tokens: torch.Tensor) -> torch.Tensor:
    """The codes of tokens (n, CELLS, CELLS): (n, CHANNELS, CELLS, CELLS)."""
    return codebook()[tokens.long()].permute(0, 3, 1, 2)


def build(source: AutoencoderKL) -> VQModel:
    """A VQModel of that codebook, with what fits of a continuous autoencoder's weights.

    It reads and draws values from 0 to 1, as the aMUSEd pipeline expects, where the source takes
    -1 to 1; the first and last convolutions absorb the difference.
    """
    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(LEVELS),
        up_block_types=("UpDecoderBlock2D",) * len(LEVELS),
        block_out_channels=LEVELS,
        layers_per_block=1,
        latent_channels=CHANNELS,
        vq_embed_dim=CHANNELS,
        num_vq_embeddings=count(),
        norm_num_groups=kl.NORM_GROUPS,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
        sample_size=world.SIDE,
        scaling_factor=1.0,
    )
    weights, outer = dict(model.state_dict()), source.state_dict()
    for name, value in outer.items():
        if (here := _deeper(name)) in weights and weights[here].shape == value.shape:
            weights[here] = value.clone()
    weights["quantize.embedding.weight"] = codebook().clone()
    weights["decoder.conv_out.weight"] = outer["decoder.conv_out.weight"] / 2
    weights["decoder.conv_out.bias"] = outer["decoder.conv_out.bias"] / 2 + 0.5
    first = outer["encoder.conv_in.weight"]
    weights["encoder.conv_in.weight"] = first * 2
    weights["encoder.conv_in.bias"] = outer["encoder.conv_in.bias"] - first.sum((1, 2, 3))
    model.load_state_dict(weights)
    model.quantize.embedding.requires_grad_(False)
    return model


def _deeper(name: str) -> str:
    """A layer's name where one more block stands before the source's decoder blocks."""
    head, found, rest = name.partition("decoder.up_blocks.")
    if not found:
        return name
    number, _, tail = rest.partition(".")
    return f"{head}{found}{int(number) + 1}.{tail}"


def train(source: AutoencoderKL) -> VQModel:
    """Train (or resume, or just load) both halves, starting from `source`."""
    model = build(source)
    train_decoder(model, "token-decoder")
    train_encoder(model, "token-encoder")
    return model.eval()


def train_decoder(model: VQModel, name: str, steps: int = DECODER_STEPS) -> None:
    """From tokens to pixels; `name` is the checkpoint's."""
    tokens = torch.stack([of(scene) for scene in data.scenes()])
    plan = decoder.Plan(name=name, steps=steps, depth=TOKEN, window=3, unit=True)
    decoder.train(plan, model, tokens, lookup)


class Half(nn.Module):
    """The encoding half: pictures (n, 3, h, w) to codes (n, CHANNELS, h / TOKEN, w / TOKEN)."""

    def __init__(self, whole: VQModel) -> None:
        super().__init__()
        self.encoder, self.convolution = whole.encoder, whole.quant_conv

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode values from 0 to 1."""
        return self.convolution(self.encoder(pictures))


def train_encoder(model: VQModel, name: str) -> None:
    """From pixels to codes, so that the nearest code is the right token; in place."""
    half = Half(model)
    trainee = Trainee(half, rate=2e-3, decay=0.0, average=0.995, matrices="encoder.")
    dice = random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(dice) for _ in range(BATCH)]
        pictures: list[Any] = [world.draw(scene) for scene in scenes]
        read = trainee.fast(((to_tensor(pictures) + 1) / 2).to(fast_type())).float()
        wanted = torch.stack([of(scene) for scene in scenes])
        error = (read - lookup(wanted)).square().mean()
        empty = wanted == torch.tensor([flat(s.background) for s in scenes])[:, None, None]
        judged = ~empty | (torch.rand(wanted.shape) < SEEN)
        far = torch.cdist(read.permute(0, 2, 3, 1)[judged], codebook()).square()
        return error + F.cross_entropy(-SHARPNESS * far, wanted[judged])

    run_stage(name, trainee, ENCODER_STEPS, loss)
    half.load_state_dict(cast(Half, trainee.average).state_dict())
