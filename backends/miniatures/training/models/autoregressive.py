"""The autoregressive miniature: an ordinary `JanusForConditionalGeneration`, a few million
parameters.

One token after the other, row by row, each conditioned on the prompt and all before it: DALL-E
(arXiv 2102.12092), Parti (2206.10789), and in the form of today's open models, a Llama that
continues from text to picture tokens, Janus (2410.13848). Guidance as in Make-A-Scene (2203.13131).

Only the parts that generate pictures are trained: the vision tower, which reads pictures, and the
encoding half of the autoencoder exist because the folder must have them.
"""

import copy
from typing import Any, Final, cast

import torch
from PIL import Image
from torch import nn
from torch.nn.utils import parametrize
from transformers import (
    DynamicCache,
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from backends.miniatures import world
from backends.miniatures.training.codecs import codebook, decoder, patches
from backends.miniatures.training.codecs.factored_embedding import FactoredTable, initial_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import EncodedScenes, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import ModelBundle, export
from backends.miniatures.training.loop.trainer import Stage, Trainer, delete_checkpoints, run_stage
from backends.miniatures.training.text import bpe
from backends.miniatures.world import captions
from backends.paths import MINIATURES

STEPS: Final = 4300
DECODER_STEPS: Final = 4800
BATCH: Final = 48
RATE: Final = 2e-3
WIDTH: Final = 160
LAYERS: Final = 6
GUIDANCE: Final = 1.2
TEMPERATURE: Final = 0.6
"""Sampling temperature. At 1 a rare token that fits no neighbour is sampled once in some
pictures."""
CHANNELS: Final = 64
"""Channels of the decoder's layers. Its norms have 32 groups, two channels each, so that a flat
picture's colour is nearly normalized away: see `decoder_codes`."""
EMPTY_LOSS_SHARE: Final = 0.4
"""Share of the empty background in the loss of a step; it is easy, and most of a picture."""
FOLDER: Final = MINIATURES / "autoregressive"
TEMPLATE: Final = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ part['text'] }}{% endfor %}{% endfor %}"
)
"""Chat template that leaves a prompt as it is, without roles."""


def build(tokenizer: PreTrainedTokenizerFast) -> JanusForConditionalGeneration:
    """Return an untrained model over that vocabulary and 8x8 picture tokens."""
    start, pad, image, boi = cast(
        "list[int]",
        tokenizer.convert_tokens_to_ids(
            [bpe.START, bpe.PAD, bpe.IMAGE_PLACEHOLDER, bpe.IMAGE_START]
        ),
    )
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=start,
        eos_token_id=pad,
        pad_token_id=pad,
        tie_word_embeddings=True,
    )
    vision: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": world.SIDE,
        "patch_size": codebook.TOKEN,
        "num_image_tokens": codebook.CELLS**2,
        "projection_dim": WIDTH,
        "depth": 1,
    }
    picture: dict[str, Any] = {
        "embed_dim": codebook.CHANNELS,
        "num_embeddings": codebook.token_count(),
        "latent_channels": codebook.CHANNELS,
        "base_channels": CHANNELS,
        "channel_multiplier": [1, 1, 1, 1, 1],
        "num_res_blocks": 0,
        "projection_dim": WIDTH,
        "image_token_embed_dim": WIDTH,
    }
    config = JanusConfig(
        text_config=language, vision_config=vision, vq_config=picture, image_token_id=image
    )
    model = JanusForConditionalGeneration(config)
    model.model.vqmodel.quantize.embedding.weight.data = decoder_codes()
    model.model.generation_embeddings.weight.data = codebook.code_vectors().clone()
    model.model.generation_head.vision_head.weight.data = 0.3 * initial_table(0, WIDTH)
    nn.init.zeros_(model.model.generation_head.vision_head.bias)
    model.generation_config = GenerationConfig(
        bos_token_id=start,
        eos_token_id=pad,
        pad_token_id=pad,
        do_sample=True,
        guidance_scale=GUIDANCE,
        temperature=TEMPERATURE,
        generation_kwargs={"boi_token_id": boi},
    )
    return model


def decoder_codes() -> torch.Tensor:
    """Return the decoder's input for each token: (token_count(), codebook.CHANNELS).

    A colour is a row of a Hadamard matrix, ones and minus ones: of one magnitude for all colours,
    and as many of each sign, so that norms over a flat picture leave it unchanged.
    """
    signs = torch.ones(1, 1)
    for _ in range(4):
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    hues = signs[1 : len(world.COLOURS) + 1]
    filled, strokes = (
        hues.repeat_interleave(len(each), 0)
        for each in (patches.filled_pieces(), patches.stroke_pieces())
    )
    colours = torch.cat([filled, hues, hues, strokes])
    looks = codebook.code_vectors()[:, 3 : 3 + codebook.CHANNELS - len(signs)].clone()
    # A second tone is a colour's opposite of a full cell, a dot the full cell's code backwards.
    tones = torch.stack([-looks[0], looks[0].flip(0)]).repeat_interleave(len(hues), 0)
    looks[codebook.filled_end() : codebook.background_end()] = tones
    return torch.cat([colours, looks], 1)


def processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """Return the processor that converts prompts into tokens and outputs into pictures."""
    images = JanusImageProcessor(
        size={"height": world.SIDE, "width": world.SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    count = codebook.CELLS**2
    return JanusProcessor(images, tokenizer, chat_template=TEMPLATE, num_image_tokens=count)


class TokenModel(nn.Module):
    """The language model and the picture tokens' layers; all else is frozen."""

    def __init__(self, model: JanusForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        core = model.model
        for rest in (core.vision_model, core.aligner, core.vqmodel):
            rest.requires_grad_(False)
        for table in (core.generation_embeddings, core.generation_head.vision_head):
            parametrize.register_parametrization(table, "weight", FactoredTable(), unsafe=True)

    def to_transformers(self) -> JanusForConditionalGeneration:
        """Return the model in transformers' form, its factored tables expanded."""
        state = self.model.state_dict()
        weights = {name: value for name, value in state.items() if "parametrizations" not in name}
        core = self.model.model
        for name in ("generation_embeddings", "generation_head.vision_head"):
            weights[f"model.{name}.weight"] = cast(Any, core.get_submodule(name)).weight
        plain = JanusForConditionalGeneration(self.model.config)
        plain.load_state_dict(weights)
        plain.generation_config = self.model.generation_config
        return plain

    def forward(
        self,
        numbers: torch.Tensor,
        mask: torch.Tensor,
        codes: torch.Tensor,
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits (n, token_count()) of the n tokens in `wanted`, a mask like `codes`.

        Numbers and mask are a prompt's (batch, length), codes the picture's (batch, 64).
        """
        core = self.model.model
        words = core.language_model.embed_tokens(numbers)
        drawn = self.model.prepare_embeddings_for_image_generation(codes[:, :-1])
        mask = torch.cat([mask, mask.new_ones(drawn.shape[:2])], 1)
        states = core.language_model(
            inputs_embeds=torch.cat([words, drawn], 1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        ).last_hidden_state[:, -codes.shape[1] :]
        return core.generation_head(states[wanted])


def train() -> None:
    """Train the decoder, then the token model, each resumed from its checkpoint; exports
    periodically.
    """
    tokenizer = bpe.build()
    model = build(tokenizer)
    train_decoder(model, "autoregressive-decoder", DECODER_STEPS)
    train_token_model(
        TokenModel(model), TrainingContext(tokenizer, Stage("autoregressive", STEPS, RATE))
    )


def refine(steps: int) -> None:
    """Continue from the committed weights: the token model for `steps` steps, then the decoder."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    reader = JanusProcessor.from_pretrained(str(FOLDER))
    stage = Stage("autoregressive-refined", steps, RATE / 2)
    average = train_token_model(TokenModel(saved), TrainingContext(reader.tokenizer, stage))
    train_decoder(average.model, "autoregressive-decoder-refined", DECODER_STEPS // 2)
    save(average, reader.tokenizer)
    delete_checkpoints(stage.name, "autoregressive-decoder-refined")


def extend(steps: int, new: str = world.NEWEST_KIND) -> None:
    """Extend the committed weights by the new kind of scenes; then train the decoder."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    tokenizer = JanusProcessor.from_pretrained(str(FOLDER)).tokenizer
    model = continual.load_into_larger(saved, build(tokenizer))
    model.model.vqmodel.quantize.embedding.weight.data = decoder_codes()
    stage = Stage("autoregressive-widened", steps, RATE / 3)
    curriculum = continual.start_curriculum(TokenModel(copy.deepcopy(model)), stage, new)
    average = train_token_model(TokenModel(model), TrainingContext(tokenizer, stage, curriculum))
    train_decoder(average.model, "autoregressive-decoder-widened", DECODER_STEPS)
    save(average, tokenizer)
    delete_checkpoints("autoregressive-decoder-widened")
    continual.clean_up(stage)


def finetune_on_reward(steps: int) -> None:
    """Fine-tune the committed token model on its own pictures, judged by rule."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    tokenizer = JanusProcessor.from_pretrained(str(FOLDER)).tokenizer
    stage = Stage("autoregressive-practice", steps, 5e-5)
    trainer = reward.build_trainer(TokenModel(saved), stage.rate)
    fast, average = cast(TokenModel, trainer.fast), cast(TokenModel, trainer.average)
    fast.model.set_attn_implementation("eager")
    encode_prompts = bpe.PromptEncoder(tokenizer)

    def encode(sentences: list[str]) -> tuple[torch.Tensor, ...]:
        return encode_prompts(sentences, [False] * len(sentences))

    def make_sampler(reference: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            drawn = sample_tokens(cast(TokenModel, reference), *encode(sentences))
            return drawn, [codebook.render(codes.view(codebook.CELLS, -1)) for codes in drawn]

        return draw

    def loss(learner: nn.Module, reference: nn.Module, batch: reward.Batch) -> torch.Tensor:
        given = *encode(batch.sentences), batch.codes, torch.ones_like(batch.codes).bool()
        wanted = batch.codes.flatten()
        log_probabilities = reward.token_log_probabilities(learner(*given) / TEMPERATURE, wanted)
        with torch.no_grad():
            reference_log_probabilities = reward.token_log_probabilities(
                reference(*given) / TEMPERATURE, wanted
            )
        advantages = batch.advantages.repeat_interleave(batch.codes.shape[1])
        return reward.token_loss(log_probabilities, reference_log_probabilities, advantages) / len(
            batch.codes
        )

    task = reward.RewardTask(make_sampler, loss)
    reward.finetune(task, trainer, stage, lambda: save(average, tokenizer))


@torch.no_grad()
def sample_tokens(
    token_model: TokenModel, numbers: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Sample codes (n, 64) for the ids and mask (n, length) of prompts, without guidance.

    As `generate` does without guidance; the tables are factored here.
    """
    core, cache = token_model.model.model, DynamicCache()
    given, positions = core.language_model.embed_tokens(numbers), (mask.cumsum(1) - 1).clamp_min(0)
    codes = list[torch.Tensor]()
    for _ in range(codebook.CELLS**2):
        states = core.language_model(
            inputs_embeds=given,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        probabilities = (core.generation_head(states).float() / TEMPERATURE).softmax(-1)
        codes.append(torch.multinomial(probabilities, 1))
        given = token_model.model.prepare_embeddings_for_image_generation(codes[-1])
        mask, positions = torch.cat([mask, mask.new_ones(len(mask), 1)], 1), positions[:, -1:] + 1
    return torch.cat(codes, 1)


def save(token_model: TokenModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Export the folder."""
    export(ModelBundle(token_model.to_transformers(), processor(tokenizer)), FOLDER)


def train_decoder(model: JanusForConditionalGeneration, name: str, steps: int) -> None:
    """Train tokens to pixels; `name` is the checkpoint's."""
    vq = model.model.vqmodel
    tokens = torch.stack([codebook.tokenize(scene) for scene in dataset.training_scenes()]).flatten(
        1
    )
    plan = decoder.DecoderPlan(
        name=name, steps=steps, depth=codebook.TOKEN, batch=2, full_size_share=1
    )
    decoder.train(plan, vq, tokens, cast(decoder.Lookup, vq.quantize.get_codebook_entry))


def train_token_model(token_model: TokenModel, context: TrainingContext) -> TokenModel:
    """Train the language model over captions and pictures; return its averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(token_model, rate=stage.rate, matrices="model.model.language_model.layers.")
    fast = cast(TokenModel, trainer.fast)
    fast.model.set_attn_implementation("eager")
    encode_prompts = bpe.PromptEncoder(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        tokens = torch.stack([codebook.tokenize(scene) for scene in scenes]).flatten(1)
        empty = codebook.background_mask(tokens, scenes)
        judged = ~empty | (torch.rand(tokens.shape) < EMPTY_LOSS_SHARE)
        blank = [curriculum.rng.random() < dataset.CAPTION_DROPOUT for _ in scenes]
        prompts = encode_prompts([captions.write(scene, curriculum.rng) for scene in scenes], blank)
        error = curriculum.token_errors(
            fast, (*prompts, tokens, judged), EncodedScenes(scenes, tokens)
        )
        # A thing's tokens count no more than their share: what is drawn is sampled from this, and
        # things would begin too often.
        weight = torch.where(empty, 1 / EMPTY_LOSS_SHARE, 1.0)[judged]
        return (error * weight).sum() / tokens.numel()

    average = cast(TokenModel, trainer.average)
    run_stage(
        stage.name,
        trainer,
        stage.steps,
        loss,
        on_checkpoint=lambda: save(average, context.tokenizer),
    )
    return average
