"""The masked-token miniature: an ordinary `AmusedPipeline`, a few million parameters.

A transformer fills in masked picture tokens a few at a time, surest first (MaskGIT, arXiv
2202.04200), led by text (Muse, 2301.00704), in the lean form of aMUSEd (2401.01808). The
`UVit2DModel` has no position embedding: it learns where a token lies from the zero padding of its
depthwise convolutions, three of them before the transformer so that the border reaches the middle.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
import math
import random
from typing import Any, Final, cast

import torch
from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from backends.miniatures import autoencoder as kl
from backends.miniatures import data, decoder, text, tokens, world
from backends.miniatures.export import ASSETS, export
from backends.miniatures.precision import fast_type
from backends.miniatures.training import WORKSHOP, Stage, Trainee, forget, run_stage

STEPS: Final = 6000
BATCH: Final = 48
WIDTH: Final = 192
MASK: Final = tokens.CODES
FOLDER: Final = ASSETS / "masked"
MICRO: Final = (float(world.SIDE), float(world.SIDE), 0.0, 0.0, 6.0)
"""What the pipeline passes by default: width, height, crop corner, aesthetic score."""
MICRO_WIDTH: Final = 32


def build() -> UVit2DModel:
    """An untrained transformer; it works on 8x8 positions of 2x2 tokens each."""
    return UVit2DModel(
        hidden_size=WIDTH,
        cond_embed_dim=text.WIDTH,
        micro_cond_encode_dim=MICRO_WIDTH,
        micro_cond_embed_dim=MICRO_WIDTH * len(MICRO),
        encoder_hidden_size=text.WIDTH,
        vocab_size=tokens.CODES + 1,
        codebook_size=tokens.CODES,
        in_channels=128,
        block_out_channels=WIDTH,
        num_res_blocks=3,
        downsample=True,
        upsample=True,
        block_num_heads=4,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        sample_size=16,
    )


class Filler(nn.Module):
    """What trains together: the transformer and its text encoder."""

    def __init__(self, transformer: UVit2DModel, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.transformer, self.encoder = transformer, encoder

    def forward(self, codes: torch.Tensor, sentences: torch.Tensor) -> torch.Tensor:
        """Logits (batch, CODES, 16, 16) from codes (batch, 16, 16) and tokens (batch, LENGTH)."""
        read = self.encoder(sentences, output_hidden_states=True)
        micro = read.text_embeds.new_tensor(MICRO).expand(len(codes), -1)
        return self.transformer(
            codes,
            encoder_hidden_states=read.hidden_states[-2],
            pooled_text_emb=read.text_embeds,
            micro_conds=micro,
        )


def mask(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes with some masked, and which: a cosine-distributed share of each picture's."""
    count = codes[0].numel()
    share = torch.cos(torch.rand(len(codes), 1) * math.pi / 2)
    ranks = torch.rand(len(codes), count).argsort(1).argsort(1)
    hidden = (ranks < (share * count).ceil().clamp_min(1)).reshape(codes.shape)
    return torch.where(hidden, MASK, codes), hidden


def pipeline(filler: Filler, vq: VQModel, tokenizer: CLIPTokenizer) -> AmusedPipeline:
    """The parts as the pipeline that everybody knows."""
    return AmusedPipeline(
        vqvae=vq,
        tokenizer=tokenizer,
        text_encoder=filler.encoder,
        transformer=filler.transformer,
        scheduler=AmusedScheduler(mask_token_id=MASK),
    )


def train() -> None:
    """All stages, each resumed from its checkpoint; exports as it goes."""
    tokenizer, reader = text.pretrain(WORKSHOP / "tokenizer")
    vq = tokens.train(kl.train())
    train_decoder(vq, picture_tokens(vq))
    train_filler(Filler(build(), reader), tokenizer, vq, Stage("masked", STEPS, rate=1e-3))


def refine(steps: int) -> None:
    """Go on from the committed weights: the transformer for `steps` steps, then the decoder."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    filler = Filler(saved.transformer, saved.text_encoder)
    average = train_filler(
        filler, saved.tokenizer, saved.vqvae, Stage("masked-refined", steps, rate=1e-3)
    )
    train_decoder(saved.vqvae, picture_tokens(saved.vqvae), "token-decoder-refined")
    export(pipeline(average, saved.vqvae, saved.tokenizer), FOLDER)
    forget("masked-refined", "token-decoder-refined")


def picture_tokens(vq: VQModel) -> torch.Tensor:
    """The cached tokens of the training scenes: (COUNT, 16, 16), int16."""
    fast = cast(Any, copy.deepcopy(vq)).to(fast_type())
    return data.encoded(
        "codes", lambda pictures: tokens.encode(fast, vq, pictures).short(), data.COUNT
    )


def train_decoder(vq: VQModel, codes: torch.Tensor, name: str = "token-decoder") -> None:
    """The discrete autoencoder's decoder, on the cached tokens; `name` is its checkpoint's."""
    book = vq.quantize.embedding.weight.detach().clone()

    def lookup(chosen: torch.Tensor) -> torch.Tensor:
        return book[chosen.long()].permute(0, 3, 1, 2)

    decoder.train(name, vq, codes, lookup, noise=0.0, unit=True)


def train_filler(filler: Filler, tokenizer: CLIPTokenizer, vq: VQModel, stage: Stage) -> Filler:
    """The transformer and its text encoder; gives their averaged weights."""
    codes = picture_tokens(vq)
    trainee = Trainee(filler, rate=stage.rate, gentle=("encoder.", 0.3), matrices="transformer.")
    fast = cast(Filler, trainee.fast)
    fast.transformer.set_attn_processor(AttnProcessor())
    fast.encoder.set_attn_implementation("eager")
    batches = data.Batches(codes, text.Tokens(tokenizer), data.scenes(len(codes)), random.Random())

    def loss(_: int) -> torch.Tensor:
        wanted, sentences, weight = batches.draw(BATCH)
        wanted = wanted.long()
        shown, hidden = mask(wanted)
        logits = fast(shown, sentences).permute(0, 2, 3, 1)[hidden]
        error = F.cross_entropy(logits.float(), wanted[hidden], reduction="none")
        return (error * weight[:, 0][hidden]).sum() / len(error)

    average = cast(Filler, trainee.average)
    run_stage(
        stage.name,
        trainee,
        stage.steps,
        loss,
        look=lambda: export(pipeline(average, vq, tokenizer), FOLDER),
    )
    return average
