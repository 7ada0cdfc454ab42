"""The tokenizer of the autoregressive miniature: byte-level BPE, as in its large relatives.

Every word of the world becomes one token; any other text, in any script, falls back to bytes.
"""

import random
from typing import Any, Final, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from backends.miniatures import world
from backends.miniatures.world import captions

START: Final = "<|begin_of_sentence|>"
PAD: Final = "<|pad|>"
IMAGE_PLACEHOLDER: Final = "<image_placeholder>"
IMAGE_START: Final = "<begin_of_image>"
IMAGE_END: Final = "<end_of_image>"
SIZE: Final = 700
"""Size of the vocabulary."""
SENTENCES: Final = 6000
"""Captions that the merges are learned from."""
WORD_LIST_REPEATS: Final = 20
"""Repetitions of the word list beside the captions, so that rare words become tokens too."""


def build() -> PreTrainedTokenizerFast:
    """Learn the merges from captions, the same ones at every call."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = cast(Any, pre_tokenizers.ByteLevel(add_prefix_space=True))
    inner.decoder = cast(Any, decoders.ByteLevel())
    special = [START, PAD, IMAGE_PLACEHOLDER, IMAGE_START, IMAGE_END]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=special, initial_alphabet=letters, show_progress=False
    )
    rng = random.Random(0)
    sentences = [captions.write(world.sample(rng), rng) for _ in range(SENTENCES)]
    inner.train_from_iterator(
        sentences + WORD_LIST_REPEATS * [" ".join(captions.vocabulary())], trainer
    )
    number = inner.token_to_id(START)
    inner.post_processor = cast(
        Any, processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, number)])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=START,
        eos_token=PAD,
        pad_token=PAD,
        extra_special_tokens={
            "image_token": IMAGE_PLACEHOLDER,
            "boi_token": IMAGE_START,
            "eoi_token": IMAGE_END,
        },
        padding_side="left",
        model_max_length=64,
    )


class PromptEncoder:
    """Convert captions to token ids as the processor does, in one call of the tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        named = tokenizer.convert_tokens_to_ids([START, PAD, IMAGE_START])
        self._start, self._pad, self._image = cast("list[int]", named)

    def __call__(self, sentences: list[str], empty: list[bool]) -> tuple[torch.Tensor, ...]:
        """Return token ids and attention mask, both (batch, longest), padded on the left.

        The words of a caption that is `empty` are replaced by padding, as in the unconditional half
        of classifier-free guidance.
        """
        rows = cast("list[list[int]]", self._tokenizer(sentences)["input_ids"])
        length = max(map(len, rows)) + 1
        numbers = torch.full((len(rows), length), self._pad)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        for index, (row, blank) in enumerate(zip(rows, empty, strict=True)):
            words = [self._pad] * (len(row) - 1) if blank else row[1:]
            written = [self._start, *words, self._image]
            numbers[index, length - len(written) :] = torch.tensor(written)
            mask[index, length - len(written) :] = 1
        return numbers, mask
