"""The codebook: each cell of 16x16 pixels is one token, a colour and a piece of an outline.

A patterned cell of a textured background is one token, too.

A token names the piece (see `patches.py`) and the colour of the thing that it belongs to; the cells
around a piece show its background. The codebook is thus fixed by rule: it lists the world's
patches. One learned the usual way (VQGAN, arXiv 2012.09841) was tried first: it gave flat
background a hundred codes that all decode alike, chosen by the rest of the picture, and a masked
model cannot predict a random choice. Cells of 8x8 were tried too: four times as many tokens are
filled in at each step, independently of each other, and shapes came out torn. Only the two halves
of an ordinary `VQModel` are learned: tokens to pixels and pixels to tokens.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from functools import cache
from typing import Any, Final, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import decoder, patches
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fastest_dtype
from backends.miniatures.training.loop.trainer import Trainer, delete_checkpoints, run_stage
from backends.miniatures.world.scene import TOKEN
from backends.miniatures.world.textures import CELLS as KINDS
from backends.miniatures.world.textures import blend_tones, cell_coverage, layout, second_tone

CELLS: Final = world.SIDE // TOKEN
"""Cells on a side of a picture."""
CHANNELS: Final = 64
"""Channels of a code: three for its colour, the others for its piece."""
LEVELS: Final = (16, 32, 64, 64, 64)
"""Channels of each level: one halving more than the continuous autoencoder. Deep layers see
only a token's piece."""
DECODER_STEPS: Final = 2500
ENCODER_STEPS: Final = 1900
BATCH: Final = 12
SHARPNESS: Final = 2.0
"""Logit per unit of squared distance from a token, while the encoder is trained. The mean error
alone separates few pieces: they lie close together."""
EMPTY_LOSS_SHARE: Final = 0.2
"""Share of the empty background in the encoder's loss; most of a picture is empty."""


@cache
def filled_end() -> int:
    """Return the number of tokens for filled pieces, numbered by colour, then by piece."""
    return len(world.COLOURS) * len(patches.filled_pieces())


@cache
def background_end() -> int:
    """Return that number with the patterned background cells, numbered by kind, then by colour."""
    return filled_end() + (len(KINDS) - 1) * len(world.COLOURS)


@cache
def token_count() -> int:
    """Return the number of all tokens; strokes, the last ones, are numbered as filled pieces
    are.
    """
    return background_end() + len(world.COLOURS) * len(patches.stroke_pieces())


def add_stroke_rows(table: torch.Tensor) -> torch.Tensor:
    """Return a table (`background_end()` and further rows, ...) with rows for strokes inserted.

    They are initialized by the most similar filled pieces, in the same colour.
    """
    colours = torch.arange(len(world.COLOURS))[:, None] * len(patches.filled_pieces())
    stroke_rows = table[(colours + torch.from_numpy(patches.nearest_filled())).flatten()]
    return torch.cat([table[: background_end()], stroke_rows, table[background_end() :]])


def tokenize(scene: world.Scene) -> torch.Tensor:
    """Return a scene's tokens: (CELLS, CELLS) of int64."""
    tokens = background_tokens(scene).numpy().copy()
    for thing in scene.things:
        numbers = patches.piece_numbers(thing)
        row, column = (int(at) // TOKEN - len(numbers) // 2 for at in (thing.y, thing.x))
        for down, right in np.argwhere(numbers >= 0):
            tokens[row + down, column + right] = _token_of(thing.colour, int(numbers[down, right]))
    return torch.from_numpy(tokens)


def _token_of(colour: str, piece: int) -> int:
    """Return the token of a piece in this colour."""
    index, known = list(world.COLOURS).index(colour), len(patches.filled_pieces())
    if piece < known:
        return index * known + piece
    return background_end() + index * len(patches.stroke_pieces()) + piece - known


def render(codes: torch.Tensor) -> Image.Image:
    """Render tokens (CELLS, CELLS) by rule; a scene's tokens give its picture again.

    The background around a piece is the commonest empty cell on the border at the same phase, as
    textures repeat every two cells. Where things leave no such cell, it is white. Reward
    fine-tuning judges these pictures: a decoder would take most of the time.
    """
    border = np.ones((CELLS, CELLS), np.bool_)
    border[1:-1, 1:-1] = False
    numbers = codes.numpy()
    is_full = (numbers < filled_end()) & (numbers % len(patches.filled_pieces()) == 0)
    empty = border & (is_full | ((numbers >= filled_end()) & (numbers < background_end())))
    background = np.full_like(numbers, flat_token("white"))
    for step in np.ndindex(2, 2):
        slots = np.s_[step[0] :: 2, step[1] :: 2]
        if len(visible := numbers[slots][empty[slots]]):
            background[slots] = np.bincount(visible).argmax()
    cover = token_coverage()[numbers][..., None]
    cells = cover * token_pixels()[numbers] + (1 - cover) * token_pixels()[background]
    pixels = cells.swapaxes(1, 2).reshape(world.SIDE, world.SIDE, 3)
    return Image.fromarray(pixels.round().astype(np.uint8))


@cache
def token_coverage() -> NDArray[np.float32]:
    """Return the token's own coverage of each pixel: (token_count(), TOKEN, TOKEN)."""
    full = np.ones((background_end() - filled_end(), TOKEN, TOKEN), np.float32)
    filled, strokes = (
        np.tile(each, (len(world.COLOURS), 1, 1))
        for each in (patches.filled_pieces(), patches.stroke_pieces())
    )
    return np.concatenate([filled, full, strokes])


@cache
def token_pixels() -> NDArray[np.float32]:
    """Return the pixels that a token covers its cell with: (token_count(), TOKEN, TOKEN, 3), 0
    to 255.
    """
    plain, *others = (
        np.stack([blend_tones(colour, cell_coverage(kind)) for colour in world.COLOURS.values()])
        for kind in KINDS
    )
    filled, strokes = (
        np.repeat(plain, len(pieces), 0)
        for pieces in (patches.filled_pieces(), patches.stroke_pieces())
    )
    return np.concatenate([filled, *others, strokes]).astype(np.float32)


def flat_token(colour: str, kind: str = "plain") -> int:
    """Return the token of a cell of one colour, or of another kind of background cell."""
    index = list(world.COLOURS).index(colour)
    if kind == "plain":
        return index * len(patches.filled_pieces())
    return filled_end() + (KINDS.index(kind) - 1) * len(world.COLOURS) + index


def background_tokens(scene: world.Scene) -> torch.Tensor:
    """Return the tokens of a scene's background: (CELLS, CELLS) of int64."""
    tokens = np.array([flat_token(scene.background, kind) for kind in KINDS])
    return torch.from_numpy(tokens[layout(scene.texture, CELLS)])


def background_mask(codes: torch.Tensor, scenes: list[world.Scene]) -> torch.Tensor:
    """Return which tokens show only background: a mask like `codes` (n, ...) of these scenes."""
    return codes == torch.stack([background_tokens(scene) for scene in scenes]).view_as(codes)


@cache
def code_vectors() -> torch.Tensor:
    """Return the codebook (token_count(), CHANNELS), with similar vectors for similar tokens."""
    filled, strokes = (
        torch.from_numpy(each()).flatten(1)
        for each in (patches.filled_pieces, patches.stroke_pieces)
    )
    mean = filled.mean(0)
    _, _, axes = torch.linalg.svd(filled - mean, full_matrices=False)
    filled_axes, stroke_axes = (
        (each - mean) @ axes[: CHANNELS - 3].T for each in (filled, strokes)
    )
    filled_axes, stroke_axes = filled_axes / filled_axes.std(), stroke_axes / filled_axes.std()
    hues = list(world.COLOURS.values())
    plain, other = (
        torch.tensor(each).float() / 85 - 1.5 for each in (hues, [*map(second_tone, hues)])
    )
    rows, stroke_rows = (
        torch.cat([plain.repeat_interleave(len(each), 0), each.repeat(len(hues), 1)], 1)
        for each in (filled_axes, stroke_axes)
    )
    # A dot is the hole in a piece that is none: its opposite of the full cell.
    full = filled_axes[:1].expand(len(hues), -1)
    return torch.cat([rows, torch.cat([other, full], 1), torch.cat([plain, -full], 1), stroke_rows])


def lookup(tokens: torch.Tensor) -> torch.Tensor:
    """Return the codes of tokens (n, CELLS, CELLS): (n, CHANNELS, CELLS, CELLS)."""
    return code_vectors()[tokens.long()].permute(0, 3, 1, 2)


def build(source: AutoencoderKL) -> VQModel:
    """Return a VQModel of that codebook, with the matching weights of a continuous autoencoder.

    Its values are from 0 to 1, as the aMUSEd pipeline expects, the source's from -1 to 1; the first
    and last convolutions absorb the difference.
    """
    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(LEVELS),
        up_block_types=("UpDecoderBlock2D",) * len(LEVELS),
        block_out_channels=LEVELS,
        layers_per_block=1,
        latent_channels=CHANNELS,
        vq_embed_dim=CHANNELS,
        num_vq_embeddings=token_count(),
        norm_num_groups=kl.NORM_GROUPS,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
        sample_size=world.SIDE,
        scaling_factor=1.0,
    )
    weights, outer = dict(model.state_dict()), source.state_dict()
    for name, value in outer.items():
        if (here := _shifted_name(name)) in weights and weights[here].shape == value.shape:
            weights[here] = value.clone()
    weights["quantize.embedding.weight"] = code_vectors().clone()
    weights["decoder.conv_out.weight"] = outer["decoder.conv_out.weight"] / 2
    weights["decoder.conv_out.bias"] = outer["decoder.conv_out.bias"] / 2 + 0.5
    first = outer["encoder.conv_in.weight"]
    weights["encoder.conv_in.weight"] = first * 2
    weights["encoder.conv_in.bias"] = outer["encoder.conv_in.bias"] - first.sum((1, 2, 3))
    model.load_state_dict(weights)
    model.quantize.embedding.requires_grad_(False)
    return model


def extend_vq(model: VQModel) -> VQModel:
    """Return the model with all tokens in its codebook; unchanged if it has them already."""
    if model.config["num_vq_embeddings"] == token_count():
        return model
    wider = cast(Any, VQModel).from_config({**model.config, "num_vq_embeddings": token_count()})
    codes = {"quantize.embedding.weight": code_vectors().clone()}
    wider.load_state_dict({**model.state_dict(), **codes})
    wider.quantize.embedding.requires_grad_(False)
    return wider


def _shifted_name(name: str) -> str:
    """Return a weight's name in a model with one more decoder block than the source."""
    head, found, rest = name.partition("decoder.up_blocks.")
    if not found:
        return name
    number, _, tail = rest.partition(".")
    return f"{head}{found}{int(number) + 1}.{tail}"


def train(source: AutoencoderKL) -> VQModel:
    """Train both halves, starting from `source` (resuming, or just loading their checkpoints)."""
    model = build(source)
    train_decoder(model, "token-decoder")
    train_encoder(model, "token-encoder")
    return model.eval()


def refine(model: VQModel) -> None:
    """Continue training both halves for half as long; in place."""
    train_decoder(model, "token-decoder-refined", DECODER_STEPS // 2)
    train_encoder(model, "token-encoder-refined", ENCODER_STEPS // 2)
    delete_checkpoints("token-decoder-refined", "token-encoder-refined")


def train_decoder(model: VQModel, name: str, steps: int = DECODER_STEPS) -> None:
    """Train tokens to pixels; `name` is the checkpoint's."""
    tokens = torch.stack([tokenize(scene) for scene in dataset.training_scenes()])
    plan = decoder.DecoderPlan(name=name, steps=steps, depth=TOKEN, window=3, unit_range=True)
    decoder.train(plan, model, tokens, lookup)


class EncoderHalf(nn.Module):
    """The encoder: pictures (n, 3, h, w) to codes (n, CHANNELS, h / TOKEN, w / TOKEN)."""

    def __init__(self, whole: VQModel) -> None:
        super().__init__()
        self.encoder, self.convolution = whole.encoder, whole.quant_conv

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode values from 0 to 1."""
        return self.convolution(self.encoder(pictures))


def train_encoder(model: VQModel, name: str, steps: int = ENCODER_STEPS) -> None:
    """Train pixels to codes, so that the nearest code is the right token; in place."""
    half = EncoderHalf(model)
    trainer = Trainer(half, rate=2e-3, decay=0.0, average=0.995, matrices="encoder.")
    rng = random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(BATCH)]
        pictures: list[Any] = [world.draw(scene) for scene in scenes]
        read = trainer.fast(((dataset.to_tensor(pictures) + 1) / 2).to(fastest_dtype())).float()
        wanted = torch.stack([tokenize(scene) for scene in scenes])
        error = (read - lookup(wanted)).square().mean()
        judged = ~background_mask(wanted, scenes) | (torch.rand(wanted.shape) < EMPTY_LOSS_SHARE)
        far = torch.cdist(read.permute(0, 2, 3, 1)[judged], code_vectors()).square()
        return error + F.cross_entropy(-SHARPNESS * far, wanted[judged])

    run_stage(name, trainer, steps, loss)
    half.load_state_dict(cast(EncoderHalf, trainer.average).state_dict())
