"""The discrete code: each cell of 16x16 pixels is one token, a colour and a piece of outline.

A cell of a textured background that is not plain is one token, too.

A token names the piece (see `pieces.py`) and the colour of the thing that it belongs to, and what
is around a piece shows its background. The codebook is thus laid by rule: it
lists the world's patches. One learned the usual way (VQGAN, arXiv 2012.09841) was tried first: it
gave flat background a hundred codes that all decode alike, chosen by what else is in the picture,
and a masked model can't predict a coin toss. Cells of 8x8 were tried too: four times as many tokens
are filled in at each step, none knowing of the others, and shapes came out torn. What is learned
here is what balanced_kinds tokens into pixels and pixels into tokens: the halves of an ordinary `VQModel`.
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

from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import decoder, patches
from backends.miniatures.training.codecs.autoencoder import to_tensor
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fast_type
from backends.miniatures.training.loop.trainer import Trainer, forget, run_stage
from backends.miniatures.world import scene as world
from backends.miniatures.world.scene import TOKEN
from backends.miniatures.world.textures import CELLS as KINDS
from backends.miniatures.world.textures import cell, layout, second, toned

CELLS: Final = world.SIDE // TOKEN
CHANNELS: Final = 64
"""Of a code: three say its colour, the others where in the cell it is."""
LEVELS: Final = (16, 32, 64, 64, 64)
"""One halving more than the continuous autoencoder; a token's piece is all that deep layers see."""
DECODER_STEPS: Final = 2500
ENCODER_STEPS: Final = 1900
BATCH: Final = 12
SHARPNESS: Final = 2.0
"""How much each unit of squared distance to a token counts against it while reading is learnt, as
a logit. An error of values alone tells few pieces apart: they lie close together."""
SEEN: Final = 0.2
"""Share of the empty background that is judged at each step of that; most of a picture is empty."""


@cache
def pieced() -> int:
    """How many tokens are pieces of filled things, numbered by colour, then by piece."""
    return len(world.COLOURS) * len(patches.filled())


@cache
def grounded() -> int:
    """How many there are with what else lies in textures, numbered by kind, then by colour."""
    return pieced() + (len(KINDS) - 1) * len(world.COLOURS)


@cache
def count() -> int:
    """How many there are with strokes, too, which are numbered as pieces are."""
    return grounded() + len(world.COLOURS) * len(patches.strokes())


def grown(table: torch.Tensor) -> torch.Tensor:
    """A table (`grounded()` and further rows, ...) with rows for strokes, too.

    They begin as those of the filled pieces that look most like them, in the same colour.
    """
    colours = torch.arange(len(world.COLOURS))[:, None] * len(patches.filled())
    begun = table[(colours + torch.from_numpy(patches.nearest())).flatten()]
    return torch.cat([table[: grounded()], begun, table[grounded() :]])


def of(scene: world.Scene) -> torch.Tensor:
    """A scene's tokens: (CELLS, CELLS) of int64."""
    tokens = ground(scene).numpy().copy()
    for thing in scene.things:
        numbers = patches.spelled(thing)
        row, column = (int(at) // TOKEN - len(numbers) // 2 for at in (thing.y, thing.x))
        for down, right in np.argwhere(numbers >= 0):
            tokens[row + down, column + right] = _number(thing.colour, int(numbers[down, right]))
    return torch.from_numpy(tokens)


def _number(colour: str, piece: int) -> int:
    """The token of a piece in this colour."""
    index, known = list(world.COLOURS).index(colour), len(patches.filled())
    if piece < known:
        return index * known + piece
    return grounded() + index * len(patches.strokes()) + piece - known


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
    full = (numbers < pieced()) & (numbers % len(patches.filled()) == 0)
    empty = border & (full | ((numbers >= pieced()) & (numbers < grounded())))
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
    full = np.ones((grounded() - pieced(), TOKEN, TOKEN), np.float32)
    filled, strokes = (
        np.tile(each, (len(world.COLOURS), 1, 1)) for each in (patches.filled(), patches.strokes())
    )
    return np.concatenate([filled, full, strokes])


@cache
def looks() -> NDArray[np.float32]:
    """What a token covers its part of a cell with: (count(), TOKEN, TOKEN, 3), from 0 to 255."""
    plain, *others = (
        np.stack([toned(colour, cell(kind)) for colour in world.COLOURS.values()]) for kind in KINDS
    )
    filled, strokes = (np.repeat(plain, len(of), 0) for of in (patches.filled(), patches.strokes()))
    return np.concatenate([filled, *others, strokes]).astype(np.float32)


def flat(colour: str, kind: str = "plain") -> int:
    """The token of a cell that is all of one colour, or of what else lies in its textures."""
    index = list(world.COLOURS).index(colour)
    if kind == "plain":
        return index * len(patches.filled())
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
    filled, strokes = (
        torch.from_numpy(each()).flatten(1) for each in (patches.filled, patches.strokes)
    )
    mean = filled.mean(0)
    _, _, axes = torch.linalg.svd(filled - mean, full_matrices=False)
    shown, drawn = ((each - mean) @ axes[: CHANNELS - 3].T for each in (filled, strokes))
    shown, drawn = shown / shown.std(), drawn / shown.std()
    hues = list(world.COLOURS.values())
    plain, other = (torch.tensor(each).float() / 85 - 1.5 for each in (hues, [*map(second, hues)]))
    rows, more = (
        torch.cat([plain.repeat_interleave(len(each), 0), each.repeat(len(hues), 1)], 1)
        for each in (shown, drawn)
    )
    # A dot is the hole in a piece that is none: its opposite of the full cell.
    full = shown[:1].expand(len(hues), -1)
    return torch.cat([rows, torch.cat([other, full], 1), torch.cat([plain, -full], 1), more])


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


def widened(model: VQModel) -> VQModel:
    """A model of fewer tokens, with all of them in its codebook; one of all is given back."""
    if model.config["num_vq_embeddings"] == count():
        return model
    wider = cast(Any, VQModel).from_config({**model.config, "num_vq_embeddings": count()})
    codes = {"quantize.embedding.weight": codebook().clone()}
    wider.load_state_dict({**model.state_dict(), **codes})
    wider.quantize.embedding.requires_grad_(False)
    return wider


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
    tokens = torch.stack([of(scene) for scene in dataset.scenes()])
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
    trainer = Trainer(half, rate=2e-3, decay=0.0, average=0.995, matrices="encoder.")
    rng = random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(BATCH)]
        pictures: list[Any] = [world.draw(scene) for scene in scenes]
        read = trainer.fast(((to_tensor(pictures) + 1) / 2).to(fast_type())).float()
        wanted = torch.stack([of(scene) for scene in scenes])
        error = (read - lookup(wanted)).square().mean()
        judged = ~empty(wanted, scenes) | (torch.rand(wanted.shape) < SEEN)
        far = torch.cdist(read.permute(0, 2, 3, 1)[judged], codebook()).square()
        return error + F.cross_entropy(-SHARPNESS * far, wanted[judged])

    run_stage(name, trainer, steps, loss)
    half.load_state_dict(cast(Half, trainer.average).state_dict())
