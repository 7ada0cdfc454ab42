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
from typing import Final, cast

import torch
from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from torch.nn.utils import parametrize
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.codecs.factored_embedding import Factors, first_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import Pictures, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.trainer import CHECKPOINTS, Stage, Trainer, forget, run_stage
from backends.miniatures.training.text import clip
from backends.miniatures.world import scene as world
from backends.paths import MINIATURES

STEPS: Final = 6000
BATCH: Final = 48
WIDTH: Final = 128
RATE: Final = 3e-3
FOLDER: Final = MINIATURES / "masked"
MICRO: Final = (float(world.SIDE), float(world.SIDE), 0.0, 0.0, 6.0)
"""What the pipeline passes by default: width, height, crop corner, aesthetic score."""
MICRO_WIDTH: Final = 32
SEEN: Final = 0.3
"""Share of the empty background that is judged at each step; it is easy, and most of a picture."""
EMPHASIS: Final = 4.0
"""How much more a thing's token counts than a background's."""


def build() -> UVit2DModel:
    """An untrained transformer over 8x8 tokens."""
    model = UVit2DModel(
        hidden_size=WIDTH,
        cond_embed_dim=clip.WIDTH,
        micro_cond_encode_dim=MICRO_WIDTH,
        micro_cond_embed_dim=MICRO_WIDTH * len(MICRO),
        encoder_hidden_size=clip.WIDTH,
        vocab_size=codebook.count() + 1,
        codebook_size=codebook.count(),
        in_channels=128,
        block_out_channels=WIDTH,
        num_res_blocks=3,
        block_num_heads=4,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        sample_size=codebook.CELLS,
    )
    channels = model.mlm_layer.conv2.in_channels
    model.embed.embeddings.weight.data = first_table(1, channels)
    model.mlm_layer.conv2.weight.data = 0.3 * first_table(0, channels)[:, :, None, None]
    return model


class MaskedTokenModel(nn.Module):
    """What trains: the transformer, its last layers apart; the text encoder stays as it is."""

    def __init__(self, transformer: UVit2DModel, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.head = transformer.mlm_layer
        transformer.register_module("mlm_layer", nn.Identity())
        self.transformer, self.encoder = transformer, encoder.requires_grad_(False)
        for table in (transformer.embed.embeddings, self.head.conv2):
            parametrize.register_parametrization(table, "weight", Factors(), unsafe=True)

    def whole(self) -> UVit2DModel:
        """The transformer as diffusers knows it, its tables written out in full."""
        parts = {**self.transformer.state_dict(), **self.head.state_dict(prefix="mlm_layer.")}
        weights = {name: value for name, value in parts.items() if "parametrizations" not in name}
        weights["embed.embeddings.weight"] = self.transformer.embed.embeddings.weight
        weights["mlm_layer.conv2.weight"] = self.head.conv2.weight
        plain = cast(UVit2DModel, UVit2DModel.from_config(self.transformer.config))
        plain.load_state_dict(weights)
        return plain

    def forward(
        self, codes: torch.Tensor, sentences: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Logits (n, tokens.count()) of the n tokens that are `wanted`, a mask like `codes`.

        Codes are (batch, 8, 8), sentences (batch, LENGTH). Logits of thousands of tokens for every
        cell would take a third of the time, and most cells are background.
        """
        with torch.no_grad():
            read = self.encoder(sentences, output_hidden_states=True)
        micro = read.text_embeds.new_tensor(MICRO).expand(len(codes), -1)
        states = self.transformer(
            codes,
            encoder_hidden_states=read.hidden_states[-2],
            pooled_text_emb=read.text_embeds,
            micro_conds=micro,
        )
        return self.head(states.permute(0, 2, 3, 1)[wanted][:, :, None, None])[:, :, 0, 0]


def mask(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes with some masked, and which: a cosine-distributed share of each picture's."""
    count = codes[0].numel()
    share = torch.cos(torch.rand(len(codes), 1) * math.pi / 2)
    ranks = torch.rand(len(codes), count).argsort(1).argsort(1)
    hidden = (ranks < (share * count).ceil().clamp_min(1)).reshape(codes.shape)
    return torch.where(hidden, codebook.count(), codes), hidden


def pipeline(
    transformer: UVit2DModel,
    encoder: CLIPTextModelWithProjection,
    vq: VQModel,
    tokenizer: CLIPTokenizer,
) -> AmusedPipeline:
    """The parts as the pipeline that everybody knows."""
    return AmusedPipeline(
        vqvae=vq,
        tokenizer=tokenizer,
        text_encoder=encoder,
        transformer=transformer,
        scheduler=AmusedScheduler(mask_token_id=codebook.count()),
    )


def train() -> None:
    """All stages, each resumed from its checkpoint; exports as it goes."""
    tokenizer, reader = clip.pretrain(CHECKPOINTS / "tokenizer")
    vq = codebook.train(kl.train())
    context = TrainingContext(tokenizer, Stage("masked", STEPS, RATE))
    train_token_model(MaskedTokenModel(build(), reader), vq, context)


def refine(steps: int) -> None:
    """Go on from the committed weights: the transformer for `steps` steps, then the tokens' VQ."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    token_model = MaskedTokenModel(saved.transformer, saved.text_encoder)
    stage = Stage("masked-refined", steps, RATE / 2)
    average = train_token_model(token_model, saved.vqvae, TrainingContext(saved.tokenizer, stage))
    codebook.refine(saved.vqvae)
    save(average, saved.vqvae, saved.tokenizer)
    forget("masked-refined")


def widen(steps: int, new: str = world.NEW) -> None:
    """Go on from the committed weights, with what the world has got since; then the tokens' VQ."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    tokenizer, known = saved.tokenizer, saved.text_encoder
    transformer, vq = continual.grown(saved.transformer, build()), codebook.widened(saved.vqvae)
    stage = Stage("masked-widened", steps, RATE / 5)
    curriculum = continual.start_curriculum(
        MaskedTokenModel(copy.deepcopy(transformer), known), stage, new
    )
    read = continual.by_clip(tokenizer, "text_embeds")
    encoder = continual.asked(known, read, continual.asking(stage), new=new)
    average = train_token_model(
        MaskedTokenModel(transformer, encoder), vq, TrainingContext(tokenizer, stage, curriculum)
    )
    if vq is not saved.vqvae:
        codebook.refine(vq)
    save(average, vq, tokenizer)
    continual.done(stage)


def practise(steps: int) -> None:
    """Go on from the committed weights: the transformer draws, is judged, and learns from it."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    stage = Stage("masked-practice", steps, 1e-4)
    trainer = reward.build_trainer(
        MaskedTokenModel(saved.transformer, saved.text_encoder), stage.rate
    )
    fast, average = cast(MaskedTokenModel, trainer.fast), cast(MaskedTokenModel, trainer.average)
    fast.transformer.set_attn_processor(AttnProcessor())
    fast.encoder.set_attn_implementation("eager")
    words = clip.Tokens(saved.tokenizer)

    def make_sampler(before: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            drawn = filled(cast(MaskedTokenModel, before), words(sentences))
            return drawn, [codebook.shown(codes) for codes in drawn]

        return draw

    def loss(learner: nn.Module, before: nn.Module, batch: reward.Batch) -> torch.Tensor:
        shown, hidden = mask(batch.codes)
        told, wanted = words(batch.sentences), batch.codes[hidden]
        now = reward.token_log_probabilities(learner(shown, told, hidden), wanted)
        with torch.no_grad():
            then = reward.token_log_probabilities(before(shown, told, hidden), wanted)
        advantages = batch.advantages[:, None, None].expand(hidden.shape)[hidden]
        return reward.token_loss(now, then, advantages) / len(batch.codes)

    def export_all() -> None:
        save(average, saved.vqvae, saved.tokenizer)

    reward.practise(reward.RewardTask(make_sampler, loss), trainer, stage, export_all)


@torch.no_grad()
def filled(token_model: MaskedTokenModel, told: torch.Tensor) -> torch.Tensor:
    """Codes (n, 8, 8) for sentences (n, LENGTH), without guidance, as `AmusedScheduler` fills them.

    The same steps with fewer numbers: logits are made of cells that are still masked only.
    """
    steps = SETTINGS["masked"].steps
    codes = torch.full((len(told), codebook.CELLS**2), codebook.count())
    for step, heat in enumerate(torch.linspace(2, 0, steps)):
        open_ = codes == codebook.count()
        grid = codes.unflatten(1, (codebook.CELLS, codebook.CELLS))
        logits = token_model(grid, told, open_.view_as(grid)).float()
        drawn = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        sure = torch.full(codes.shape, torch.inf)
        sure[open_] = reward.token_log_probabilities(logits, drawn) + heat * _gumbel(drawn.shape)
        codes[open_] = drawn
        left = int(codes.shape[1] * math.cos((step + 1) / steps * math.pi / 2))
        if step < steps - 1:
            kept = torch.minimum(open_.sum(1, keepdim=True) - 1, torch.tensor(left)).clamp_min(1)
            codes[sure < sure.sort(1).values.gather(1, kept)] = codebook.count()
    return codes.unflatten(1, (codebook.CELLS, codebook.CELLS))


def _gumbel(shape: torch.Size) -> torch.Tensor:
    return -torch.empty(shape).exponential_().log()


def save(token_model: MaskedTokenModel, vq: VQModel, tokenizer: CLIPTokenizer) -> None:
    """Export the pipeline."""
    export(pipeline(token_model.whole(), token_model.encoder, vq, tokenizer), FOLDER)


def train_token_model(
    token_model: MaskedTokenModel, vq: VQModel, context: TrainingContext
) -> MaskedTokenModel:
    """The transformer, led by a text encoder that stays as it is; gives its averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(token_model, rate=stage.rate, matrices="transformer.")
    fast = cast(MaskedTokenModel, trainer.fast)
    fast.transformer.set_attn_processor(AttnProcessor())
    fast.encoder.set_attn_implementation("eager")
    read = clip.Tokens(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        whole = torch.stack([codebook.of(scene) for scene in scenes])
        empty = codebook.empty(whole, scenes)
        shown, hidden = mask(whole)
        judged = hidden & (~empty | (torch.rand(whole.shape) < SEEN))
        sentences = read([dataset.caption(scene, curriculum.rng) for scene in scenes])
        error = curriculum.token_errors(fast, (shown, sentences, judged), Pictures(scenes, whole))
        weight = torch.where(empty, 1 / SEEN, EMPHASIS)[judged]
        return (error * weight).sum() / weight.sum()

    average = cast(MaskedTokenModel, trainer.average)

    def look() -> None:
        save(average, vq, context.tokenizer)

    run_stage(stage.name, trainer, stage.steps, loss, look=look)
    return average
