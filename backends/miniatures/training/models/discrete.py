"""The discrete-diffusion miniature: an ordinary `VQDiffusionPipeline`, a few million parameters.

Noise is wrong tokens: each is masked or replaced by chance, and a transformer says what every
token was before (D3PM, arXiv 2107.03006; VQ-Diffusion, 2111.14822, whose "mask and replace"
schedule this is). Unlike in a masked model nothing is final: a token that was filled in is noise
like any other at the next step, and may change again.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
from typing import Any, Final, cast

import torch
from diffusers import StableDiffusionPipeline, Transformer2DModel, VQDiffusionPipeline, VQModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
    LearnedClassifierFreeSamplingEmbeddings,
)
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import CLIPTextModel, CLIPTokenizer

from backends.local.families.discrete import read as open_folder
from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.codecs.factored_embedding import Factors, first_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import Pictures, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, run_stage
from backends.miniatures.training.models import discrete_noise
from backends.miniatures.training.models.discrete_noise import TIMES
from backends.miniatures.training.text import clip
from backends.miniatures.world import scene as world
from backends.paths import MINIATURES

STEPS: Final = 9000
BATCH: Final = 48
GROUPS: Final = 4
"""A batch is drawn at so many times: diffusers' AdaLayerNorm takes one for all that it is given."""
RATE: Final = 2e-3
FOLDER: Final = MINIATURES / "discrete"
HEADS: Final = 4
WIDTH: Final = 128
LAYERS: Final = 5
SEEN: Final = 0.3
"""Share of the empty background that is judged at each step; it is easy, and most of a picture."""
KEPT: Final = 0.1
"""Share of the tokens that no noise has touched which are judged too: none says that it is true."""
LIKELIEST: Final = 24
"""Tokens that are looked at for one cell while practising; all others are hardly ever likely."""
EMPHASIS: Final = 4.0
"""How much more a thing's token counts than a background's."""


def build() -> Transformer2DModel:
    """An untrained transformer over 8x8 tokens."""
    model = Transformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        num_layers=LAYERS,
        cross_attention_dim=clip.WIDTH,
        attention_bias=True,
        sample_size=codebook.CELLS,
        num_vector_embeds=codebook.count() + 1,
        activation_fn="geglu-approximate",
        norm_type="ada_norm",
        num_embeds_ada_norm=TIMES,
    )
    model.latent_image_embedding.emb.weight.data = first_table(1, WIDTH)
    model.out.weight.data = 0.3 * first_table(0, WIDTH)
    nn.init.zeros_(model.out.bias)
    return model


class DiscreteDenoiser(nn.Module):
    """What trains: the transformer, its first and last tables by their factors; text stays."""

    def __init__(self, transformer: Transformer2DModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.transformer, self.encoder = transformer, encoder.requires_grad_(False)
        for table in self._tables():
            parametrize.register_parametrization(table, "weight", Factors(), unsafe=True)

    def _tables(self) -> tuple[nn.Module, nn.Module]:
        return self.transformer.latent_image_embedding.emb, self.transformer.out

    def whole(self) -> Transformer2DModel:
        """The transformer as diffusers knows it, its tables written out in full."""
        found = self.transformer.state_dict()
        weights = {name: value for name, value in found.items() if "parametrizations" not in name}
        first, last = self._tables()
        weights["latent_image_embedding.emb.weight"] = cast(torch.Tensor, first.weight)
        weights["out.weight"] = cast(torch.Tensor, last.weight)
        plain = cast(Any, Transformer2DModel).from_config(self.transformer.config)
        plain.load_state_dict(weights)
        return plain

    def forward(
        self,
        codes: torch.Tensor,
        times: torch.Tensor,
        sentences: torch.Tensor,
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (n, tokens.count()) of the n tokens that are `wanted`, a mask like `codes`.

        Codes are (batch, 64), sentences (batch, LENGTH), times (GROUPS,), one for each part of
        the batch. What the pipeline does in one call is spelled out, so that thousands of logits
        are made for few cells only.
        """
        states = read(self.encoder, sentences).chunk(GROUPS)
        parts = self.transformer.latent_image_embedding(codes).chunk(GROUPS)
        drawn = list[torch.Tensor]()
        for time, hidden, led in zip(times, parts, states, strict=True):
            for block in self.transformer.transformer_blocks:
                hidden = block(hidden, encoder_hidden_states=led, timestep=time)
            drawn.append(hidden)
        return self.transformer.out(self.transformer.norm_out(torch.cat(drawn))[wanted])


@torch.no_grad()
def read(encoder: CLIPTextModel, sentences: torch.Tensor) -> torch.Tensor:
    """What the pipeline makes of sentences (batch, LENGTH): states of length 1, (.., LENGTH, w)."""
    return F.normalize(encoder(sentences).last_hidden_state, dim=-1)


def drawn_by(vq: VQModel) -> VQModel:
    """The masked miniature's VQModel as this pipeline expects it.

    It draws values from -1 to 1, not from 0, and is given codes, not tokens.
    """
    vq.register_to_config(lookup_from_codebook=False)
    last = vq.decoder.conv_out
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(2)
        last.bias.mul_(2).sub_(1)
    return vq


def pipeline(
    transformer: Transformer2DModel, encoder: CLIPTextModel, vq: VQModel, tokenizer: CLIPTokenizer
) -> VQDiffusionPipeline:
    """The parts as the pipeline that everybody knows."""
    return VQDiffusionPipeline(
        vqvae=vq,
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=discrete_noise.scheduler(),
        learned_classifier_free_sampling_embeddings=LearnedClassifierFreeSamplingEmbeddings(
            learnable=False
        ),
    )


def train() -> None:
    """All of it: the text encoder is the diffusion miniature's, the tokens are the masked one's."""
    tokenizer, encoder = _reader()
    vq = _decoder()
    context = TrainingContext(tokenizer, Stage("discrete", STEPS, RATE))
    train_denoiser(DiscreteDenoiser(build(), encoder), vq, context)


def refine(steps: int) -> None:
    """Go on from the committed weights for `steps` steps, with the tokens' decoder as it is now."""
    saved = cast(Any, open_folder(FOLDER))
    stage = Stage("discrete-refined", steps, RATE / 2)
    denoiser = DiscreteDenoiser(saved.transformer, saved.text_encoder)
    train_denoiser(denoiser, _decoder(), TrainingContext(saved.tokenizer, stage))
    forget(stage.name)


def widen(steps: int, new: str = world.NEW) -> None:
    """Go on from the committed weights, with what the world and the tokens' decoder have got."""
    saved = cast(Any, open_folder(FOLDER))
    tokenizer, known = saved.tokenizer, saved.text_encoder
    transformer = continual.grown(saved.transformer, build())
    stage = Stage("discrete-widened", steps, RATE / 2)
    curriculum = continual.start_curriculum(
        DiscreteDenoiser(copy.deepcopy(transformer), known), stage, new
    )
    read = continual.by_clip(tokenizer, "pooler_output")
    encoder = continual.asked(known, read, continual.asking(stage), new=new)
    vq = codebook.widened(_decoder())
    train_denoiser(
        DiscreteDenoiser(transformer, encoder), vq, TrainingContext(tokenizer, stage, curriculum)
    )
    continual.done(stage)


def practise(steps: int) -> None:
    """Go on from the committed weights: the transformer draws, is judged, and learns from it."""
    saved = cast(Any, open_folder(FOLDER))
    stage = Stage("discrete-practice", steps, 1e-4)
    trainer = reward.build_trainer(
        DiscreteDenoiser(saved.transformer, saved.text_encoder), stage.rate
    )
    _plain_attention(cast(DiscreteDenoiser, trainer.fast))
    words = clip.Tokens(saved.tokenizer)

    def make_sampler(before: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            drawn = restored(cast(DiscreteDenoiser, before), words(sentences))
            return drawn, [codebook.shown(codes.view(codebook.CELLS, -1)) for codes in drawn]

        return draw

    def loss(learner: nn.Module, before: nn.Module, batch: reward.Batch) -> torch.Tensor:
        times = torch.randint(TIMES, (GROUPS,))
        each = times.repeat_interleave(len(batch.codes) // GROUPS)
        shown, touched = discrete_noise.noised(batch.codes, each)
        given = shown, times, words(batch.sentences), touched
        now = reward.token_log_probabilities(learner(*given), batch.codes[touched])
        with torch.no_grad():
            then = reward.token_log_probabilities(before(*given), batch.codes[touched])
        advantages = batch.advantages[:, None].expand(touched.shape)[touched]
        return reward.token_loss(now, then, advantages) / len(batch.codes)

    average = cast(DiscreteDenoiser, trainer.average)

    def save() -> None:
        parts = average.whole(), average.encoder, saved.vqvae, saved.tokenizer
        export(pipeline(*parts), FOLDER)

    reward.practise(reward.RewardTask(make_sampler, loss), trainer, stage, save)


@torch.no_grad()
def restored(denoiser: DiscreteDenoiser, told: torch.Tensor) -> torch.Tensor:
    """Codes (n, 64) for sentences (n, LENGTH), n a multiple of GROUPS, without guidance.

    As the pipeline draws with the catalogue's truncation, but in fewer numbers: each cell's clean
    token is drawn first, and then what the cell held one step of noise before, given both (the
    mixture of equation 8 in 2111.14822, drawn from part by part).
    """
    codes = torch.full((len(told), codebook.CELLS**2), codebook.count())
    everywhere = torch.ones_like(codes).bool()
    for time in reversed(range(TIMES)):
        times = torch.full((GROUPS,), time)
        logits = denoiser(codes, times, told, everywhere).float()
        codes = discrete_noise.before(codes, _likeliest(logits).view_as(codes), time)
    return codes


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """One token (n,) for each row of logits (n, tokens), the least likely ones left out."""
    chances, found = logits.softmax(-1).topk(LIKELIEST)
    likelier = chances.cumsum(-1) - chances
    kept = chances * (likelier < SETTINGS["discrete"].truncation_rate)
    return found.gather(-1, torch.multinomial(kept, 1))[:, 0]


def _decoder() -> VQModel:
    return drawn_by(VQModel.from_pretrained(str(MINIATURES / "masked"), subfolder="vqvae"))


def _reader() -> tuple[CLIPTokenizer, CLIPTextModel]:
    found = StableDiffusionPipeline.from_pretrained(str(MINIATURES / "diffusion"))
    return cast(CLIPTokenizer, found.tokenizer), cast(CLIPTextModel, found.text_encoder)


def _plain_attention(denoiser: DiscreteDenoiser) -> None:
    """Written out: on processors the fused kernels' backward pass is far slower."""
    for block in cast(Any, denoiser.transformer.transformer_blocks):
        for attention in (block.attn1, block.attn2):
            attention.set_processor(AttnProcessor())
    denoiser.encoder.set_attn_implementation("eager")


def train_denoiser(denoiser: DiscreteDenoiser, vq: VQModel, context: TrainingContext) -> None:
    """The transformer, led by a text encoder that stays as it is; exports as it goes."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(denoiser, rate=stage.rate, matrices="transformer.transformer_blocks.")
    fast = cast(DiscreteDenoiser, trainer.fast)
    _plain_attention(fast)
    words = clip.Tokens(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        whole = torch.stack([codebook.of(scene) for scene in scenes]).flatten(1)
        empty = codebook.empty(whole, scenes)
        times = torch.randint(TIMES, (GROUPS,))
        shown, touched = discrete_noise.noised(whole, times.repeat_interleave(BATCH // GROUPS))
        share = torch.where(touched, torch.where(empty, SEEN, 1.0), KEPT)
        judged = torch.rand(whole.shape) < share
        sentences = words([dataset.caption(scene, curriculum.rng) for scene in scenes])
        given = shown, times, sentences, judged
        error = curriculum.token_errors(fast, given, Pictures(scenes, whole))
        weight = torch.where(touched, torch.where(empty, 1 / SEEN, EMPHASIS), 1.0)[judged]
        return (error * weight).sum() / weight.sum()

    average = cast(DiscreteDenoiser, trainer.average)

    def look() -> None:
        export(pipeline(average.whole(), average.encoder, vq, context.tokenizer), FOLDER)

    run_stage(stage.name, trainer, stage.steps, loss, look=look)
