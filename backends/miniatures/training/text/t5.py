"""The cascade's text side: a small T5 encoder that learns to read scenes before it leads a U-Net.

Imagen's finding (arXiv 2205.11487) is that a text-only encoder, frozen, leads pictures well; this
one is T5 (1910.10683) in the small, with a word of the world to a token and letters for the rest.
"""

import random
import string
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from transformers.models.t5.modeling_t5 import T5Attention

from backends.miniatures.training.finetuning.continual import Read
from backends.miniatures.training.loop.trainer import Trainer, run_stage
from backends.miniatures.training.text.clip import Questions, answers
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world

LENGTH: Final = 77
SHORT: Final = 28
"""As long as the world's sentences get, in tokens."""
"""Tokens that `IFPipeline` pads every prompt to."""
WIDTH: Final = 128
STEPS: Final = 1000
BATCH: Final = 96
BLIND: Final = 4.0
"""By how much a head that looks one way begins with less attention to the other, as a logit."""


def build_tokenizer() -> T5Tokenizer:
    """Whole words score best; letters, each far worse, spell what is no word of the world."""
    letters = sorted({*string.ascii_letters, *string.digits, *string.punctuation, "▁"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in captions.words()]
    pieces += [(letter, -10.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def build(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """An untrained encoder for that vocabulary."""
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
    look_both_ways(encoder)
    return encoder


def look_both_ways(encoder: T5EncoderModel) -> None:
    """Let a head of every layer begin by looking back and another by looking ahead.

    T5 tells where a word stands by biases for distances alone (arXiv 1910.10683, section 2.1). They
    start near zero and learn slowly: after 800 steps a sentence with its things swapped was still
    the same sentence. Started like this, with Muon, 500 steps tell them apart every time.
    """
    attention = cast(T5Attention, cast(Any, encoder.encoder).block[0].layer[0].SelfAttention)
    biases = attention.relative_attention_bias.weight.detach()
    ahead = len(biases) // 2  # from here on a row is for words that come later
    biases[ahead:, 0] -= BLIND
    biases[:ahead, 1] -= BLIND


class Sentences:
    """Captions to token numbers and attention masks, as the pipeline makes them."""

    def __init__(self, tokenizer: T5Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, sentences: list[str], length: int = LENGTH) -> tuple[torch.Tensor, ...]:
        """Numbers and mask, both (batch, length)."""
        told = self._tokenizer(
            sentences, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return cast(torch.Tensor, told["input_ids"]), cast(torch.Tensor, told["attention_mask"])


class Pupil(nn.Module):
    """The encoder and what it is asked, as `text.Reader`."""

    def __init__(self, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.encoder, self.questions = encoder, Questions(WIDTH)

    def forward(
        self, numbers: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """How far the answers, from the mean state, are off; wanted is (batch, questions)."""
        states = self.encoder(input_ids=numbers, attention_mask=mask).last_hidden_state
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.questions(pooled, wanted)


def pretrain(name: str) -> tuple[T5Tokenizer, T5EncoderModel]:
    """The tokenizer and the pretrained encoder; resumes or just loads checkpoint `name`."""
    tokenizer = build_tokenizer()
    trainer = Trainer(Pupil(build(tokenizer)), rate=2e-3, matrices="encoder.encoder.block.")
    fast = cast(Pupil, trainer.fast)
    read, rng = Sentences(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(BATCH)]
        numbers, mask = read([captions.write(scene, rng) for scene in scenes], SHORT)
        return fast(numbers, mask, torch.tensor([answers(scene) for scene in scenes]))

    run_stage(name, trainer, STEPS, loss)
    return tokenizer, cast(Pupil, trainer.average).encoder.eval()


def read_by(tokenizer: T5Tokenizer) -> Read:
    """How an encoder is read: the mean state (n, WIDTH) and all (n, SHORT, WIDTH) of sentences."""
    words = Sentences(tokenizer)

    def read(encoder: Any, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        numbers, mask = words(sentences, SHORT)
        states = encoder(input_ids=numbers, attention_mask=mask).last_hidden_state
        seen = mask[..., None].to(states.dtype)
        return (states * seen).sum(1) / seen.sum(1), states * seen

    return read
