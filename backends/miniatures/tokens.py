"""The discrete code: each cell of 16x16 pixels is one token, a colour and a piece of outline.

A cell of a textured background that is not plain is one token, too.

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
from backends.miniatures.textures import CELLS as KINDS
from backends.miniatures.textures import cell, layout, second, toned
from backends.miniatures.training import Trainee, forget, run_stage
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
def pieced() -> int:
    """How many tokens are pieces of things; they are numbered by colour, then by piece."""
    return len(world.COLOURS) * len(pieces())


@cache
def count() -> int:
    """How many tokens there are: after the pieces, what else lies in textures, then by colour."""
    return pieced() + (len(KINDS) - 1) * len(world.COLOURS)


def of(scene: world.Scene) -> torch.Tensor:
    """A scene's tokens: (CELLS, CELLS) of int64."""
    tokens = ground(scene).numpy().copy()
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

    What is around a piece is the background, here the commonest empty cell on the border among
    those in step with it, as textures repeat every two cells. Where things leave no such cell,
    nothing tells it, and it is white. Judging needs no decoder for this, which would take most of
    the time.
    """
    border = np.ones((CELLS, CELLS), np.bool_)
    border[1:-1, 1:-1] = False
    numbers = codes.numpy()
    empty = border & ((numbers % len(pieces()) == 0) | (numbers >= pieced()))
    behind = np.full_like(numbers, flat("white"))
    for step in np.ndindex(2, 2):
        slots = np.s_[step[0] :: 2, step[1] :: 2]
        if len(seen := numbers[slots][empty[slots]]):
            behind[slots] = np.bincount(seen).argmax()
    cover = coverage()[numbers][..., None]
    cells = cover * looks()[numbers] + (1 - cover) * looks()[behind]
    pixels = cells.swapaxes(1, 2).reshape(world.SIDE, world.SIDE, 3)
    return Image.fromarray(pixels.round().astype(np.uint8))


@cache
def coverage() -> NDArray[np.float32]:
    """How much of each pixel is the token's own, not its background: (count(), TOKEN, TOKEN)."""
    full = np.ones((count() - pieced(), TOKEN, TOKEN), np.float32)
    return np.concatenate([np.tile(pieces(), (len(world.COLOURS), 1, 1)), full])


@cache
def looks() -> NDArray[np.float32]:
    """What a token covers its part of a cell with: (count(), TOKEN, TOKEN, 3), from 0 to 255."""
    plain, *others = (
        np.stack([toned(colour, cell(kind)) for colour in world.COLOURS.values()]) for kind in KINDS
    )
    return np.concatenate([np.repeat(plain, len(pieces()), 0), *others]).astype(np.float32)


def flat(colour: str, kind: str = "plain") -> int:
    """The token of a cell that is all of one colour, or of what else lies in its textures."""
    index = list(world.COLOURS).index(colour)
    if kind == "plain":
        return index * len(pieces())
    return pieced() + (KINDS.index(kind) - 1) * len(world.COLOURS) + index


def ground(scene: world.Scene) -> torch.Tensor:
    """The tokens of a scene's background: (CELLS, CELLS) of int64."""
    tokens = np.array([flat(scene.background, kind) for kind in KINDS])
    return torch.from_numpy(tokens[layout(scene.texture, CELLS)])


def empty(codes: torch.Tensor, scenes: list[world.Scene]) -> torch.Tensor:
    """Which tokens show nothing but background: a mask like `codes` (n, ...) of these scenes."""
    return codes == torch.stack([ground(scene) for scene in scenes]).view_as(codes)


@cache
def codebook() -> torch.Tensor:
    """What each token looks like: (count(), CHANNELS), alike for tokens that look alike."""
    outlines = torch.from_numpy(pieces()).flatten(1)
    _, _, axes = torch.linalg.svd(outlines - outlines.mean(0), full_matrices=False)
    shown = (outlines - outlines.mean(0)) @ axes[: CHANNELS - 3].T
    shown = shown / shown.std()
    hues = list(world.COLOURS.values())
    plain, other = (torch.tensor(each).float() / 85 - 1.5 for each in (hues, [*map(second, hues)]))
    rows = torch.cat([plain.repeat_interleave(len(shown), 0), shown.repeat(len(hues), 1)], 1)
    # A dot is the hole in a piece that is none: its opposite of the full cell.
    full = shown[:1].expand(len(hues), -1)
    return torch.cat([rows, torch.cat([other, full], 1), torch.cat([plain, -full], 1)])


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


def refine(model: VQModel) -> None:
    """Both halves go on from where they are, for half as long; in place."""
    train_decoder(model, "token-decoder-refined", DECODER_STEPS // 2)
    train_encoder(model, "token-encoder-refined", ENCODER_STEPS // 2)
    forget("token-decoder-refined", "token-encoder-refined")


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


def train_encoder(model: VQModel, name: str, steps: int = ENCODER_STEPS) -> None:
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
        judged = ~empty(wanted, scenes) | (torch.rand(wanted.shape) < SEEN)
        far = torch.cdist(read.permute(0, 2, 3, 1)[judged], codebook()).square()
        return error + F.cross_entropy(-SHARPNESS * far, wanted[judged])

    run_stage(name, trainee, steps, loss)
    half.load_state_dict(cast(Half, trainee.average).state_dict())
