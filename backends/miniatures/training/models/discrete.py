"""The discrete-diffusion miniature: an ordinary `VQDiffusionPipeline`, a few million parameters.

Noise is wrong tokens: each is masked or replaced at random, and a transformer predicts the original
tokens (D3PM, arXiv 2107.03006; VQ-Diffusion, 2111.14822, whose "mask and replace" schedule this
is). Unlike in a masked model no token is final: after being filled in it is noisy like any other at
the next step, and may change again.
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
from backends.miniatures import world
from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.codecs.factored_embedding import FactoredTable, initial_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import EncodedScenes, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.trainer import Stage, Trainer, delete_checkpoints, run_stage
from backends.miniatures.training.models import discrete_noise
from backends.miniatures.training.models.discrete_noise import TIMES
from backends.miniatures.training.text import clip
from backends.paths import MINIATURES

STEPS: Final = 9000
BATCH: Final = 48
TIME_GROUPS: Final = 4
"""Timesteps in a batch: diffusers' AdaLayerNorm takes one timestep for its whole input."""
RATE: Final = 2e-3
FOLDER: Final = MINIATURES / "discrete"
HEADS: Final = 4
WIDTH: Final = 128
LAYERS: Final = 5
EMPTY_LOSS_SHARE: Final = 0.3
"""Share of the empty background in the loss of a step; it is easy, and most of a picture."""
UNTOUCHED_LOSS_SHARE: Final = 0.1
"""Share of the unchanged tokens in the loss: the model is not told which ones they are."""
TOP_K: Final = 24
"""Tokens considered for one cell in reward fine-tuning; all others are very unlikely."""
EMPHASIS: Final = 4.0
"""Weight of a thing's token relative to a background's."""


def build() -> Transformer2DModel:
    """Return an untrained transformer over 8x8 tokens."""
    model = Transformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        num_layers=LAYERS,
        cross_attention_dim=clip.WIDTH,
        attention_bias=True,
        sample_size=codebook.CELLS,
        num_vector_embeds=codebook.token_count() + 1,
        activation_fn="geglu-approximate",
        norm_type="ada_norm",
        num_embeds_ada_norm=TIMES,
    )
    model.latent_image_embedding.emb.weight.data = initial_table(1, WIDTH)
    model.out.weight.data = 0.3 * initial_table(0, WIDTH)
    nn.init.zeros_(model.out.bias)
    return model


class DiscreteDenoiser(nn.Module):
    """The transformer, its first and last tables factored, and the frozen text encoder.

    Attribute names are keys of checkpoints.
    """

    def __init__(self, transformer: Transformer2DModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.transformer, self.encoder = transformer, encoder.requires_grad_(False)
        for table in self._tables():
            parametrize.register_parametrization(table, "weight", FactoredTable(), unsafe=True)

    def _tables(self) -> tuple[nn.Module, nn.Module]:
        """Return the embedding and the output layer."""
        return self.transformer.latent_image_embedding.emb, self.transformer.out

    def to_diffusers(self) -> Transformer2DModel:
        """Return the transformer in diffusers' form, its factored tables expanded."""
        token_numbers = self.transformer.state_dict()
        weights = {
            name: value for name, value in token_numbers.items() if "parametrizations" not in name
        }
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
        """Return logits (n, token_count()) of the n tokens in `wanted`, a mask like `codes`.

        Codes are (batch, 64), sentences (batch, LENGTH), times (TIME_GROUPS,), one for each part of
        the batch. The model's own forward pass is written out, so that thousands of logits are
        computed for few cells only.
        """
        states = encode_text(self.encoder, sentences).chunk(TIME_GROUPS)
        parts = self.transformer.latent_image_embedding(codes).chunk(TIME_GROUPS)
        outputs = list[torch.Tensor]()
        for time, hidden, states_part in zip(times, parts, states, strict=True):
            for block in self.transformer.transformer_blocks:
                hidden = block(hidden, encoder_hidden_states=states_part, timestep=time)
            outputs.append(hidden)
        return self.transformer.out(self.transformer.norm_out(torch.cat(outputs))[wanted])


@torch.no_grad()
def encode_text(encoder: CLIPTextModel, sentences: torch.Tensor) -> torch.Tensor:
    """Return the pipeline's encoding of sentences (batch, LENGTH): states of length 1, (..,
    LENGTH, w).
    """
    return F.normalize(encoder(sentences).last_hidden_state, dim=-1)


def adapt_vq(vq: VQModel) -> VQModel:
    """Adapt the masked miniature's VQModel to this pipeline, in place.

    Its values then go from -1 to 1, not from 0, and its input is codes, not tokens.
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
    """Return the parts as a pipeline of diffusers."""
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
    """Train from the diffusion miniature's text encoder and the masked miniature's tokens."""
    tokenizer, encoder = _load_text_encoder()
    vq = _load_vq()
    context = TrainingContext(tokenizer, Stage("discrete", STEPS, RATE))
    train_denoiser(DiscreteDenoiser(build(), encoder), vq, context)


def refine(steps: int) -> None:
    """Continue from the committed weights for `steps` steps, with the current decoder of tokens."""
    saved = cast(Any, open_folder(FOLDER))
    stage = Stage("discrete-refined", steps, RATE / 2)
    denoiser = DiscreteDenoiser(saved.transformer, saved.text_encoder)
    train_denoiser(denoiser, _load_vq(), TrainingContext(saved.tokenizer, stage))
    delete_checkpoints(stage.name)


def extend(steps: int, new: str = world.NEWEST_KIND) -> None:
    """Extend the committed weights by the new kind of scenes and by the tokens of the current
    decoder.
    """
    saved = cast(Any, open_folder(FOLDER))
    tokenizer, saved_encoder = saved.tokenizer, saved.text_encoder
    transformer = continual.load_into_larger(saved.transformer, build())
    stage = Stage("discrete-widened", steps, RATE / 2)
    curriculum = continual.start_curriculum(
        DiscreteDenoiser(copy.deepcopy(transformer), saved_encoder), stage, new
    )
    encode_text = clip.clip_encoding(tokenizer, "pooler_output")
    encoder = continual.extend_text_encoder(
        saved_encoder, encode_text, continual.text_stage(stage), new=new
    )
    vq = codebook.extend_vq(_load_vq())
    train_denoiser(
        DiscreteDenoiser(transformer, encoder), vq, TrainingContext(tokenizer, stage, curriculum)
    )
    continual.clean_up(stage)


def finetune_on_reward(steps: int) -> None:
    """Fine-tune the committed transformer on its own pictures, judged by rule."""
    saved = cast(Any, open_folder(FOLDER))
    stage = Stage("discrete-practice", steps, 1e-4)
    trainer = reward.build_trainer(
        DiscreteDenoiser(saved.transformer, saved.text_encoder), stage.rate
    )
    _use_unfused_attention(cast(DiscreteDenoiser, trainer.fast))
    encode_prompts = clip.TokenEncoder(saved.tokenizer)

    def make_sampler(reference: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            codes = sample_tokens(cast(DiscreteDenoiser, reference), encode_prompts(sentences))
            return codes, [codebook.render(each.view(codebook.CELLS, -1)) for each in codes]

        return draw

    def loss(learner: nn.Module, reference: nn.Module, batch: reward.Batch) -> torch.Tensor:
        times = torch.randint(TIMES, (TIME_GROUPS,))
        each = times.repeat_interleave(len(batch.codes) // TIME_GROUPS)
        noisy, touched = discrete_noise.add_noise(batch.codes, each)
        given = noisy, times, encode_prompts(batch.sentences), touched
        log_probabilities = reward.token_log_probabilities(learner(*given), batch.codes[touched])
        with torch.no_grad():
            reference_log_probabilities = reward.token_log_probabilities(
                reference(*given), batch.codes[touched]
            )
        advantages = batch.advantages[:, None].expand(touched.shape)[touched]
        return reward.token_loss(log_probabilities, reference_log_probabilities, advantages) / len(
            batch.codes
        )

    average = cast(DiscreteDenoiser, trainer.average)

    def save() -> None:
        parts = average.to_diffusers(), average.encoder, saved.vqvae, saved.tokenizer
        export(pipeline(*parts), FOLDER)

    reward.finetune(reward.RewardTask(make_sampler, loss), trainer, stage, save)


@torch.no_grad()
def sample_tokens(denoiser: DiscreteDenoiser, token_ids: torch.Tensor) -> torch.Tensor:
    """Sample codes (n, 64) for token ids (n, LENGTH), n a multiple of TIME_GROUPS, without
    guidance.

    As the pipeline samples with the catalogue's truncation, with less work: each cell's clean token
    is sampled first, and then its token one step of noise earlier, given both (the mixture of
    equation 8 in 2111.14822, sampled component by component).
    """
    codes = torch.full((len(token_ids), codebook.CELLS**2), codebook.token_count())
    everywhere = torch.ones_like(codes).bool()
    for time in reversed(range(TIMES)):
        times = torch.full((TIME_GROUPS,), time)
        logits = denoiser(codes, times, token_ids, everywhere).float()
        codes = discrete_noise.sample_previous(
            codes, _sample_truncated(logits).view_as(codes), time
        )
    return codes


def _sample_truncated(logits: torch.Tensor) -> torch.Tensor:
    """Sample one token (n,) for each row of logits (n, tokens), the least likely ones excluded."""
    probabilities, token_numbers = logits.softmax(-1).topk(TOP_K)
    likelier = probabilities.cumsum(-1) - probabilities
    truncated = probabilities * (likelier < SETTINGS["discrete"].truncation_rate)
    return token_numbers.gather(-1, torch.multinomial(truncated, 1))[:, 0]


def _load_vq() -> VQModel:
    """Load the masked miniature's VQModel, adapted."""
    return adapt_vq(VQModel.from_pretrained(str(MINIATURES / "masked"), subfolder="vqvae"))


def _load_text_encoder() -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Load the diffusion miniature's tokenizer and text encoder."""
    token_numbers = StableDiffusionPipeline.from_pretrained(str(MINIATURES / "diffusion"))
    return cast(CLIPTokenizer, token_numbers.tokenizer), cast(
        CLIPTextModel, token_numbers.text_encoder
    )


def _use_unfused_attention(denoiser: DiscreteDenoiser) -> None:
    """Set written-out attention: on CPUs the fused kernels' backward pass is far slower."""
    for block in cast(Any, denoiser.transformer.transformer_blocks):
        for attention in (block.attn1, block.attn2):
            attention.set_processor(AttnProcessor())
    denoiser.encoder.set_attn_implementation("eager")


def train_denoiser(denoiser: DiscreteDenoiser, vq: VQModel, context: TrainingContext) -> None:
    """Train the transformer with the text encoder frozen; exports periodically."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(denoiser, rate=stage.rate, matrices="transformer.transformer_blocks.")
    fast = cast(DiscreteDenoiser, trainer.fast)
    _use_unfused_attention(fast)
    encode_prompts = clip.TokenEncoder(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        tokens = torch.stack([codebook.tokenize(scene) for scene in scenes]).flatten(1)
        empty = codebook.background_mask(tokens, scenes)
        times = torch.randint(TIMES, (TIME_GROUPS,))
        noisy, touched = discrete_noise.add_noise(
            tokens, times.repeat_interleave(BATCH // TIME_GROUPS)
        )
        share = torch.where(
            touched, torch.where(empty, EMPTY_LOSS_SHARE, 1.0), UNTOUCHED_LOSS_SHARE
        )
        judged = torch.rand(tokens.shape) < share
        sentences = encode_prompts(
            [dataset.sample_caption(scene, curriculum.rng) for scene in scenes]
        )
        given = noisy, times, sentences, judged
        error = curriculum.token_errors(fast, given, EncodedScenes(scenes, tokens))
        weight = torch.where(touched, torch.where(empty, 1 / EMPTY_LOSS_SHARE, EMPHASIS), 1.0)[
            judged
        ]
        return (error * weight).sum() / weight.sum()

    average = cast(DiscreteDenoiser, trainer.average)

    def export_average() -> None:
        export(pipeline(average.to_diffusers(), average.encoder, vq, context.tokenizer), FOLDER)

    run_stage(stage.name, trainer, stage.steps, loss, on_checkpoint=export_average)
