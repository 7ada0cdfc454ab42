"""The autoregressive miniature: an ordinary `JanusForConditionalGeneration`, of a few million.

One token after the other, row by row, each given the prompt and all before it: DALL-E (arXiv
2102.12092), Parti (2206.10789), and in the form of today's open models, a Llama that goes on from
text to picture tokens, Janus (2410.13848). Guidance as in Make-A-Scene (2203.13131).

Of the form's parts only those that drawing needs are trained: the vision tower, which reads
pictures, and the encoding half of the autoencoder are there because the folder must have them.
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

from backends.miniatures.training.codecs import codebook, decoder, patches
from backends.miniatures.training.codecs.factored_embedding import Factors, first_table
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import Pictures, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import Together, export
from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, run_stage
from backends.miniatures.training.text import bpe
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.paths import MINIATURES

STEPS: Final = 4300
DECODER_STEPS: Final = 4800
BATCH: Final = 48
RATE: Final = 2e-3
WIDTH: Final = 160
LAYERS: Final = 6
GUIDANCE: Final = 1.2
TEMPERATURE: Final = 0.6
"""Of the rng. At 1 a seldom token that fits no neighbour is thrown once in some pictures."""
CHANNELS: Final = 64
"""Of the decoder's layers. Its norms make 32 groups of them, two channels each, so that a flat
picture's colour is nearly normalised away: see `codes`."""
SEEN: Final = 0.4
"""Share of the empty background that is judged at each step; it is easy, and most of a picture."""
FOLDER: Final = MINIATURES / "autoregressive"
TEMPLATE: Final = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ part['text'] }}{% endfor %}{% endfor %}"
)
"""A prompt stays as it is: no system, no user, no assistant."""


def build(tokenizer: PreTrainedTokenizerFast) -> JanusForConditionalGeneration:
    """An untrained model over that vocabulary and 8x8 picture tokens."""
    start, pad, image, boi = cast(
        "list[int]",
        tokenizer.convert_tokens_to_ids([bpe.START, bpe.PAD, bpe.IMAGE, bpe.IMAGE_START]),
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
        "num_embeddings": codebook.count(),
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
    model.model.vqmodel.quantize.embedding.weight.data = codes()
    model.model.generation_embeddings.weight.data = codebook.codebook().clone()
    model.model.generation_head.vision_head.weight.data = 0.3 * first_table(0, WIDTH)
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


def codes() -> torch.Tensor:
    """What the decoder is given for each token: (tokens.count(), tokens.CHANNELS).

    Its colour is a row of a Hadamard matrix, ones and minus ones: of one size for all colours, and
    as many of each sign, so that norms over a flat picture leave it as it is.
    """
    signs = torch.ones(1, 1)
    for _ in range(4):
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    hues = signs[1 : len(world.COLOURS) + 1]
    filled, strokes = (
        hues.repeat_interleave(len(each), 0) for each in (patches.filled(), patches.strokes())
    )
    colours = torch.cat([filled, hues, hues, strokes])
    looks = codebook.codebook()[:, 3 : 3 + codebook.CHANNELS - len(signs)].clone()
    # A second tone is a colour's opposite of a full cell, a dot the full cell's code backwards.
    tones = torch.stack([-looks[0], looks[0].flip(0)]).repeat_interleave(len(hues), 0)
    looks[codebook.pieced() : codebook.grounded()] = tones
    return torch.cat([colours, looks], 1)


def processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """What balanced_kinds prompts into tokens and what is drawn into pictures."""
    images = JanusImageProcessor(
        size={"height": world.SIDE, "width": world.SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    count = codebook.CELLS**2
    return JanusProcessor(images, tokenizer, chat_template=TEMPLATE, num_image_tokens=count)


class TokenModel(nn.Module):
    """What trains: the language model and what ties picture tokens to it."""

    def __init__(self, model: JanusForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        core = model.model
        for rest in (core.vision_model, core.aligner, core.vqmodel):
            rest.requires_grad_(False)
        for table in (core.generation_embeddings, core.generation_head.vision_head):
            parametrize.register_parametrization(table, "weight", Factors(), unsafe=True)

    def whole(self) -> JanusForConditionalGeneration:
        """The model as transformers knows it, its tables written out in full."""
        found = self.model.state_dict()
        weights = {name: value for name, value in found.items() if "parametrizations" not in name}
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
        """Logits (n, tokens.count()) of the n tokens that are `wanted`, a mask like `codes`.

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
    """The decoder, then the token_model, each resumed from its checkpoint; exports as it goes."""
    tokenizer = bpe.build()
    model = build(tokenizer)
    train_decoder(model, "autoregressive-decoder", DECODER_STEPS)
    train_token_model(
        TokenModel(model), TrainingContext(tokenizer, Stage("autoregressive", STEPS, RATE))
    )


def refine(steps: int) -> None:
    """Go on from the committed weights: the token_model for `steps` steps, then the decoder."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    reader = JanusProcessor.from_pretrained(str(FOLDER))
    stage = Stage("autoregressive-refined", steps, RATE / 2)
    average = train_token_model(TokenModel(saved), TrainingContext(reader.tokenizer, stage))
    train_decoder(average.model, "autoregressive-decoder-refined", DECODER_STEPS // 2)
    save(average, reader.tokenizer)
    forget(stage.name, "autoregressive-decoder-refined")


def widen(steps: int, new: str = world.NEW) -> None:
    """Go on from the committed weights, with what the world has got since; then the decoder."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    tokenizer = JanusProcessor.from_pretrained(str(FOLDER)).tokenizer
    model = continual.grown(saved, build(tokenizer))
    model.model.vqmodel.quantize.embedding.weight.data = codes()
    stage = Stage("autoregressive-widened", steps, RATE / 3)
    curriculum = continual.start_curriculum(TokenModel(copy.deepcopy(model)), stage, new)
    average = train_token_model(TokenModel(model), TrainingContext(tokenizer, stage, curriculum))
    train_decoder(average.model, "autoregressive-decoder-widened", DECODER_STEPS)
    save(average, tokenizer)
    forget("autoregressive-decoder-widened")
    continual.done(stage)


def practise(steps: int) -> None:
    """Go on from the committed weights: the token_model draws, is judged, and learns from it."""
    saved = JanusForConditionalGeneration.from_pretrained(str(FOLDER), dtype=torch.float32)
    tokenizer = JanusProcessor.from_pretrained(str(FOLDER)).tokenizer
    stage = Stage("autoregressive-practice", steps, 5e-5)
    trainer = reward.build_trainer(TokenModel(saved), stage.rate)
    fast, average = cast(TokenModel, trainer.fast), cast(TokenModel, trainer.average)
    fast.model.set_attn_implementation("eager")
    read = bpe.Prompts(tokenizer)

    def told(sentences: list[str]) -> tuple[torch.Tensor, ...]:
        return read(sentences, [False] * len(sentences))

    def make_sampler(before: nn.Module) -> reward.Sampler:
        def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
            drawn = written(cast(TokenModel, before), *told(sentences))
            return drawn, [codebook.shown(codes.view(codebook.CELLS, -1)) for codes in drawn]

        return draw

    def loss(learner: nn.Module, before: nn.Module, batch: reward.Batch) -> torch.Tensor:
        given = *told(batch.sentences), batch.codes, torch.ones_like(batch.codes).bool()
        wanted = batch.codes.flatten()
        now = reward.token_log_probabilities(learner(*given) / TEMPERATURE, wanted)
        with torch.no_grad():
            then = reward.token_log_probabilities(before(*given) / TEMPERATURE, wanted)
        advantages = batch.advantages.repeat_interleave(batch.codes.shape[1])
        return reward.token_loss(now, then, advantages) / len(batch.codes)

    task = reward.RewardTask(make_sampler, loss)
    reward.practise(task, trainer, stage, lambda: save(average, tokenizer))


@torch.no_grad()
def written(token_model: TokenModel, numbers: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Codes (n, 64) for prompts' numbers and mask (n, length), one after the other, unguided.

    As `generate` draws without guidance; the token_model's tables are by their factors here.
    """
    core, memory = token_model.model.model, DynamicCache()
    given, places = core.language_model.embed_tokens(numbers), (mask.cumsum(1) - 1).clamp_min(0)
    codes = list[torch.Tensor]()
    for _ in range(codebook.CELLS**2):
        states = core.language_model(
            inputs_embeds=given,
            attention_mask=mask,
            position_ids=places,
            past_key_values=memory,
            use_cache=True,
        ).last_hidden_state[:, -1]
        chances = (core.generation_head(states).float() / TEMPERATURE).softmax(-1)
        codes.append(torch.multinomial(chances, 1))
        given = token_model.model.prepare_embeddings_for_image_generation(codes[-1])
        mask, places = torch.cat([mask, mask.new_ones(len(mask), 1)], 1), places[:, -1:] + 1
    return torch.cat(codes, 1)


def save(token_model: TokenModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Export the folder."""
    export(Together(token_model.whole(), processor(tokenizer)), FOLDER)


def train_decoder(model: JanusForConditionalGeneration, name: str, steps: int) -> None:
    """From tokens to pixels; `name` is the checkpoint's."""
    vq = model.model.vqmodel
    drawn = torch.stack([codebook.of(scene) for scene in dataset.scenes()]).flatten(1)
    plan = decoder.Plan(name=name, steps=steps, depth=codebook.TOKEN, batch=2, whole_share=1)
    decoder.train(plan, vq, drawn, cast(decoder.Lookup, vq.quantize.get_codebook_entry))


def train_token_model(token_model: TokenModel, context: TrainingContext) -> TokenModel:
    """The language model over captions and pictures; gives its averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    trainer = Trainer(token_model, rate=stage.rate, matrices="model.model.language_model.layers.")
    fast = cast(TokenModel, trainer.fast)
    fast.model.set_attn_implementation("eager")
    read = bpe.Prompts(context.tokenizer)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        whole = torch.stack([codebook.of(scene) for scene in scenes]).flatten(1)
        empty = codebook.empty(whole, scenes)
        judged = ~empty | (torch.rand(whole.shape) < SEEN)
        blank = [curriculum.rng.random() < dataset.DROPPED for _ in scenes]
        told = read([captions.write(scene, curriculum.rng) for scene in scenes], blank)
        error = curriculum.token_errors(fast, (*told, whole, judged), Pictures(scenes, whole))
        # A thing's tokens count no more than their share: what is drawn is sampled from this, and
        # things would begin too often.
        weight = torch.where(empty, 1 / SEEN, 1.0)[judged]
        return (error * weight).sum() / whole.numel()

    average = cast(TokenModel, trainer.average)
    run_stage(stage.name, trainer, stage.steps, loss, look=lambda: save(average, context.tokenizer))
    return average
