"""The masked-token miniature: an ordinary `AmusedPipeline`, a few million parameters.

A transformer fills in masked picture tokens a few at a time, the most confident first (MaskGIT,
arXiv 2202.04200), conditioned on text (Muse, 2301.00704), in the lean form of aMUSEd (2401.01808).
The `UVit2DModel` has no position embedding: it learns where a token lies from the zero padding of
its depthwise convolutions, three of them before the transformer so that the border reaches the
middle.
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

from backends.miniatures import world
from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.codecs.factored_embedding import FactoredTable, initial_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import EncodedScenes, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.trainer import (
    CHECKPOINTS,
    Stage,
    Trainer,
    delete_checkpoints,
    run_stage,
)
from backends.miniatures.training.text import clip
from backends.paths import MINIATURES

STEPS: Final = 6000
BATCH: Final = 48
WIDTH: Final = 128
RATE: Final = 3e-3
FOLDER: Final = MINIATURES / "masked"
MICRO_CONDITIONS: Final = (float(world.SIDE), float(world.SIDE), 0.0, 0.0, 6.0)
"""The pipeline's default micro-conditioning: width, height, crop corner, aesthetic score."""
MICRO_WIDTH: Final = 32
EMPTY_LOSS_SHARE: Final = 0.3
"""Share of the empty background in the loss of a step; it is easy, and most of a picture."""
EMPHASIS: Final = 4.0
"""Weight of a thing's token relative to a background's."""


def build() -> UVit2DModel:
    """Return an untrained transformer over 8x8 tokens."""
    model = UVit2DModel(
        hidden_size=WIDTH,
        cond_embed_dim=clip.WIDTH,
        micro_cond_encode_dim=MICRO_WIDTH,
        micro_cond_embed_dim=MICRO_WIDTH * len(MICRO_CONDITIONS),
        encoder_hidden_size=clip.WIDTH,
        vocab_size=codebook.token_count() + 1,
        codebook_size=codebook.token_count(),
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
    model.embed.embeddings.weight.data = initial_table(1, channels)
    model.mlm_layer.conv2.weight.data = 0.3 * initial_table(0, channels)[:, :, None, None]
    return model


class MaskedTokenModel(nn.Module):
    """The transformer, its head separate, and the frozen text encoder. Attribute names are keys
    of checkpoints.
    """

    def __init__(self, transformer: UVit2DModel, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.head = transformer.mlm_layer
        transformer.register_module("mlm_layer", nn.Identity())
        self.transformer, self.encoder = transformer, encoder.requires_grad_(False)
        for table in (transformer.embed.embeddings, self.head.conv2):
            parametrize.register_parametrization(table, "weight", FactoredTable(), unsafe=True)

    def to_diffusers(self) -> UVit2DModel:
        """Return the transformer in diffusers' form, its factored tables expanded."""
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
        """Return logits (n, token_count()) of the n tokens in `wanted`, a mask like `codes`.

        Codes are (batch, 8, 8), sentences (batch, LENGTH). Logits of thousands of tokens for every
        cell would take a third of the time, and most cells are background.
        """
        with torch.no_grad():
            text = self.encoder(sentences, output_hidden_states=True)
        micro = text.text_embeds.new_tensor(MICRO_CONDITIONS).expand(len(codes), -1)
        states = self.transformer(
            codes,
            encoder_hidden_states=text.hidden_states[-2],
            pooled_text_emb=text.text_embeds,
            micro_conds=micro,
        )
        return self.head(states.permute(0, 2, 3, 1)[wanted][:, :, None, None])[:, :, 0, 0]


def mask_tokens(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes with some masked, and the mask: a cosine-distributed share of each picture."""
    count = codes[0].numel()
    share = torch.cos(torch.rand(len(codes), 1) * math.pi / 2)
    ranks = torch.rand(len(codes), count).argsort(1).argsort(1)
    hidden = (ranks < (share * count).ceil().clamp_min(1)).reshape(codes.shape)
    return torch.where(hidden, codebook.token_count(), codes), hidden


def pipeline(
    transformer: UVit2DModel,
    encoder: CLIPTextModelWithProjection,
    vq: VQModel,
    tokenizer: CLIPTokenizer,
) -> AmusedPipeline:
    """Return the parts as a pipeline of diffusers."""
    return AmusedPipeline(
        vqvae=vq,
        tokenizer=tokenizer,
        text_encoder=encoder,
        transformer=transformer,
        scheduler=AmusedScheduler(mask_token_id=codebook.token_count()),
    )


def train() -> None:
    """Run all stages, each resumed from its checkpoint; exports periodically."""
    tokenizer, reader = clip.pretrain(CHECKPOINTS / "tokenizer")
    vq = codebook.train(kl.train())
    context = TrainingContext(tokenizer, Stage("masked", STEPS, RATE))
    train_token_model(MaskedTokenModel(build(), reader), vq, context)


def refine(steps: int) -> None:
    """Continue from the committed weights: the transformer for `steps` steps, then the VQModel."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    token_model = MaskedTokenModel(saved.transformer, saved.text_encoder)
    stage = Stage("masked-refined", steps, RATE / 2)
    average = train_token_model(token_model, saved.vqvae, TrainingContext(saved.tokenizer, stage))
    codebook.refine(saved.vqvae)
    save(average, saved.vqvae, saved.tokenizer)
    delete_checkpoints("masked-refined")


def extend(steps: int, new: str = world.NEWEST_KIND) -> None:
    """Extend the committed weights by the new kind of scenes: text encoder, transformer,
    VQModel.
    """
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    tokenizer, saved_encoder = saved.tokenizer, saved.text_encoder
    transformer, vq = (
        continual.load_into_larger(saved.transformer, build()),
        codebook.extend_vq(saved.vqvae),
    )
    stage = Stage("masked-widened", steps, RATE / 5)
    curriculum = continual.start_curriculum(
        MaskedTokenModel(copy.deepcopy(transformer), saved_encoder), stage, new
    )
    encode_text = clip.clip_encoding(tokenizer, "text_embeds")
    encoder = continual.extend_text_encoder(
        saved_encoder, encode_text, continual.text_stage(stage), new=new
    )
    average = train_token_model(
        MaskedTokenModel(transformer, encoder), vq, TrainingContext(tokenizer, stage, curriculum)
    )
    if vq is not saved.vqvae:
        codebook.refine(vq)
    save(average, vq, tokenizer)
    continual.clean_up(stage)


def finetune_on_reward(steps: int) -> None:
    """Fine-tune the committed transformer on its own pictures, judged by rule."""
    saved = AmusedPipeline.from_pretrained(str(FOLDER))
    stage = Stage("masked-practice", steps, 1e-4)
    trainer = reward.build_trainer(
        MaskedTokenModel(saved.transformer, saved.text_encoder), stage.rate
    )
    fast, average = cast(MaskedTokenModel, trainer.fast), cast(MaskedTokenModel, trainer.average)
    fast.transformer.set_attn_processor(AttnProcessor())
    fast.encoder.set_attn_implementation("eager")
    encode_prompts = clip.TokenEncoder(saved.tokenizer)

    def make_sampler(reference: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            drawn = sample_tokens(cast(MaskedTokenModel, reference), encode_prompts(sentences))
            return drawn, [codebook.render(codes) for codes in drawn]

        return draw

    def loss(learner: nn.Module, reference: nn.Module, batch: reward.Batch) -> torch.Tensor:
        masked_tokens, hidden = mask_tokens(batch.codes)
        token_ids, wanted = encode_prompts(batch.sentences), batch.codes[hidden]
        log_probabilities = reward.token_log_probabilities(
            learner(masked_tokens, token_ids, hidden), wanted
        )
        with torch.no_grad():
            reference_log_probabilities = reward.token_log_probabilities(
                reference(masked_tokens, token_ids, hidden), wanted
            )
        advantages = batch.advantages[:, None, None].expand(hidden.shape)[hidden]
        return reward.token_loss(log_probabilities, reference_log_probabilities, advantages) / len(
            batch.codes
        )

    def export_average() -> None:
        save(average, saved.vqvae, saved.tokenizer)

    reward.finetune(reward.RewardTask(make_sampler, loss), trainer, stage, export_average)


@torch.no_grad()
def sample_tokens(token_model: MaskedTokenModel, token_ids: torch.Tensor) -> torch.Tensor:
    """Sample codes (n, 8, 8) for token ids (n, LENGTH), without guidance, as `AmusedScheduler`
    does.

    Same steps with less work: logits are computed only for cells that are still masked.
    """
    steps = SETTINGS["masked"].steps
    codes = torch.full((len(token_ids), codebook.CELLS**2), codebook.token_count())
    for step, temperature in enumerate(torch.linspace(2, 0, steps)):
        masked = codes == codebook.token_count()
        grid = codes.unflatten(1, (codebook.CELLS, codebook.CELLS))
        logits = token_model(grid, token_ids, masked.view_as(grid)).float()
        sampled = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        confidence = torch.full(codes.shape, torch.inf)
        confidence[masked] = reward.token_log_probabilities(
            logits, sampled
        ) + temperature * _gumbel(sampled.shape)
        codes[masked] = sampled
        remaining = int(codes.shape[1] * math.cos((step + 1) / steps * math.pi / 2))
        if step < steps - 1:
            still_masked = torch.minimum(
                masked.sum(1, keepdim=True) - 1, torch.tensor(remaining)
            ).clamp_min(1)
            codes[confidence < confidence.sort(1).values.gather(1, still_masked)] = (
                codebook.token_count()
            )
    return codes.unflatten(1, (codebook.CELLS, codebook.CELLS))


def _gumbel(shape: torch.Size) -> torch.Tensor:
    """Sample standard Gumbel noise."""
    return -torch.empty(shape).exponential_().log()


def save(token_model: MaskedTokenModel, vq: VQModel, tokenizer: CLIPTokenizer) -> None:
    """Export the pipeline."""
    export(pipeline(token_model.to_diffusers(), token_model.encoder, vq, tokenizer), FOLDER)


def train_token_model(
    token_model: MaskedTokenModel, vq: VQModel, context: TrainingContext
) -> MaskedTokenModel:
    """Train the transformer with the text encoder frozen; return its averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(token_model, rate=stage.rate, matrices="transformer.")
    fast = cast(MaskedTokenModel, trainer.fast)
    fast.transformer.set_attn_processor(AttnProcessor())
    fast.encoder.set_attn_implementation("eager")
    encode_prompts = clip.TokenEncoder(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        tokens = torch.stack([codebook.tokenize(scene) for scene in scenes])
        empty = codebook.background_mask(tokens, scenes)
        masked_tokens, hidden = mask_tokens(tokens)
        judged = hidden & (~empty | (torch.rand(tokens.shape) < EMPTY_LOSS_SHARE))
        sentences = encode_prompts(
            [dataset.sample_caption(scene, curriculum.rng) for scene in scenes]
        )
        error = curriculum.token_errors(
            fast, (masked_tokens, sentences, judged), EncodedScenes(scenes, tokens)
        )
        weight = torch.where(empty, 1 / EMPTY_LOSS_SHARE, EMPHASIS)[judged]
        return (error * weight).sum() / weight.sum()

    average = cast(MaskedTokenModel, trainer.average)

    def export_average() -> None:
        save(average, vq, context.tokenizer)

    run_stage(stage.name, trainer, stage.steps, loss, on_checkpoint=export_average)
    return average
