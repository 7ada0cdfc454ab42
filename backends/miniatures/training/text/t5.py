"""The cascade's text encoder: a small T5, pretrained on the attributes of scenes.

Imagen (arXiv 2205.11487) found that a frozen text-only encoder guides image models well. This one
is a small T5 (1910.10683), with one token for each word of the world and letters for other text.
"""

import random
import string
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from transformers.models.t5.modeling_t5 import T5Attention

from backends.miniatures import world
from backends.miniatures.training.loop.trainer import Trainer, run_stage
from backends.miniatures.training.text.probes import AttributeProbes, EncodeText, attribute_labels
from backends.miniatures.world import captions

LENGTH: Final = 77
"""Tokens that `IFPipeline` pads every prompt to."""
CAPTION_LENGTH: Final = 28
"""Tokens of the world's longest captions."""
"""Tokens that `IFPipeline` pads every prompt to."""
WIDTH: Final = 128
STEPS: Final = 1000
BATCH: Final = 96
ATTENTION_BIAS: Final = 4.0
"""Initial penalty, as a logit, on a one-sided head's attention to the other side."""


def build_tokenizer() -> T5Tokenizer:
    """Return a unigram tokenizer: whole words score best, letters far worse."""
    letters = sorted({*string.ascii_letters, *string.digits, *string.punctuation, "▁"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in captions.vocabulary()]
    pieces += [(letter, -10.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def build(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Return an untrained encoder for that vocabulary."""
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=32,
            d_ff=2 * WIDTH,
            num_layers=4,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    break_direction_symmetry(encoder)
    return encoder


def break_direction_symmetry(encoder: T5EncoderModel) -> None:
    """Initialize one head of every layer to attend backwards and another to attend forwards.

    T5 encodes positions by biases for distances alone (arXiv 1910.10683, section 2.1). They start
    near zero and learn slowly: after 800 steps a caption with its things swapped had still the same
    encoding. With this initialization and Muon, 500 steps separate them every time.
    """
    attention = cast(T5Attention, cast(Any, encoder.encoder).block[0].layer[0].SelfAttention)
    biases = attention.relative_attention_bias.weight.detach()
    ahead = len(biases) // 2  # from here on a row is for words that come later
    biases[ahead:, 0] -= ATTENTION_BIAS
    biases[:ahead, 1] -= ATTENTION_BIAS


class PromptEncoder:
    """Convert captions to token ids and attention masks, as the pipeline does."""

    def __init__(self, tokenizer: T5Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, sentences: list[str], length: int = LENGTH) -> tuple[torch.Tensor, ...]:
        """Return token ids and mask, both (batch, length)."""
        encoded = self._tokenizer(
            sentences, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return cast(torch.Tensor, encoded["input_ids"]), cast(
            torch.Tensor, encoded["attention_mask"]
        )


class ProbedEncoder(nn.Module):
    """The encoder and its probes, for pretraining only. Attribute names are keys of checkpoints."""

    def __init__(self, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.encoder, self.questions = encoder, AttributeProbes(WIDTH)

    def forward(
        self, numbers: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Return the probes' loss on the mean state; wanted is (batch, attributes)."""
        states = self.encoder(input_ids=numbers, attention_mask=mask).last_hidden_state
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.questions(pooled, wanted)


def pretrain(name: str) -> tuple[T5Tokenizer, T5EncoderModel]:
    """Return the tokenizer and the pretrained encoder; resumes or just loads checkpoint `name`."""
    tokenizer = build_tokenizer()
    trainer = Trainer(ProbedEncoder(build(tokenizer)), rate=2e-3, matrices="encoder.encoder.block.")
    fast = cast(ProbedEncoder, trainer.fast)
    encode_prompts, rng = PromptEncoder(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(BATCH)]
        numbers, mask = encode_prompts(
            [captions.write(scene, rng) for scene in scenes], CAPTION_LENGTH
        )
        return fast(numbers, mask, torch.tensor([attribute_labels(scene) for scene in scenes]))

    run_stage(name, trainer, STEPS, loss)
    return tokenizer, cast(ProbedEncoder, trainer.average).encoder.eval()


def t5_encoding(tokenizer: T5Tokenizer) -> EncodeText:
    """Return the encoding function: mean state (n, WIDTH), all states (n, CAPTION_LENGTH,
    WIDTH).
    """
    words = PromptEncoder(tokenizer)

    def encode_prompts(encoder: Any, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        numbers, mask = words(sentences, CAPTION_LENGTH)
        states = encoder(input_ids=numbers, attention_mask=mask).last_hidden_state
        seen = mask[..., None].to(states.dtype)
        return (states * seen).sum(1) / seen.sum(1), states * seen

    return encode_prompts
