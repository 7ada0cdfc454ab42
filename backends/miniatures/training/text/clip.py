"""A small CLIP tokenizer, and a CLIP text encoder pretrained on the attributes of scenes.

Every word of the world is one token; any other text, in any script, falls back to bytes and so
never fails. Pretraining takes a few minutes: linear probes read the scene's attributes off the
pooled state, left or upper thing first, whatever the order of the caption.
"""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from backends.miniatures import world
from backends.miniatures.training.loop.trainer import Trainer, run_stage
from backends.miniatures.training.text.probes import AttributeProbes, EncodeText, attribute_labels
from backends.miniatures.world import captions

LENGTH: Final = 32
"""Tokens that every prompt is padded to."""
WIDTH: Final = 192
"""Width of the states and of the pooled state."""
STEPS: Final = 900
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_characters() -> list[str]:
    """Return the printable stand-ins that byte-level BPE has for the 256 bytes, in CLIP's order."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + index) for index in range(len(moved))]


def learn_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return byte-pair merges, most frequent first, until every word is a single token."""
    spelled = [(*word[:-1], word[-1] + "</w>") for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in spelled for pair in pairwise(word)):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(word, best) for word in spelled]
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of a pair in a word."""
    merged: list[str] = []
    for letters in word:
        if merged and (merged[-1], letters) == pair:
            merged[-1] += letters
        else:
            merged.append(letters)
    return tuple(merged)


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the vocabulary as an ordinary CLIP tokenizer folder and load it."""
    letters, merges = byte_characters(), learn_merges(captions.vocabulary())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), "utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=LENGTH,
    )
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def build(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Return an untrained text encoder for that vocabulary."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=cast(int, tokenizer.bos_token_id),
            eos_token_id=cast(int, tokenizer.eos_token_id),
            pad_token_id=cast(int, tokenizer.pad_token_id),
        )
    )


class TokenEncoder:
    """Convert captions to token ids, with a cache of each word's ids."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._start = cast(int, tokenizer.bos_token_id)
        self._end = cast(int, tokenizer.eos_token_id)

    def __call__(self, sentences: list[str]) -> torch.Tensor:
        """Return token ids (batch, LENGTH) of int64, padded as the tokenizer pads."""
        return torch.tensor([self._row(sentence) for sentence in sentences])

    def _row(self, sentence: str) -> list[int]:
        row = [self._start]
        for word in sentence.replace(",", " , ").replace(".", " . ").split():
            if word not in self._known:
                self._known[word] = self._tokenizer(word, add_special_tokens=False)["input_ids"]
            row += self._known[word]
        row = [*row[: LENGTH - 1], self._end]
        return row + [self._end] * (LENGTH - len(row))


class ProbedEncoder(nn.Module):
    """A text encoder and its probes, for pretraining only. Attribute names are keys of
    checkpoints.
    """

    def __init__(self, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.encoder, self.questions = encoder, AttributeProbes(WIDTH)

    def forward(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the probes' loss: tokens (batch, LENGTH), wanted (batch, attributes)."""
        return self.questions(self.encoder(tokens).text_embeds, wanted)


def pretrain(folder: Path) -> tuple[CLIPTokenizer, CLIPTextModelWithProjection]:
    """Return the tokenizer (written to `folder`) and the pretrained encoder; resumes its
    checkpoint.
    """
    tokenizer = write_tokenizer(folder)
    trainer = Trainer(ProbedEncoder(build(tokenizer)), rate=1e-3)
    fast = cast(ProbedEncoder, trainer.fast)
    # The fused kernel's backward pass is slow on processors at this size.
    fast.encoder.set_attn_implementation("eager")
    tokens, rng = TokenEncoder(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(192)]
        sentences = [captions.write(scene, rng) for scene in scenes]
        return fast(tokens(sentences), torch.tensor([attribute_labels(scene) for scene in scenes]))

    run_stage("text", trainer, STEPS, loss)
    return tokenizer, cast(ProbedEncoder, trainer.average).encoder.eval()


def clip_encoding(tokenizer: Any, pooled: str) -> EncodeText:
    """Return the encoding function of CLIP text encoders; `pooled` names their pooled output."""
    words = TokenEncoder(tokenizer)

    def read(encoder: Any, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        found = encoder(words(sentences), output_hidden_states=True)
        states = [*found.hidden_states[-2:], found.last_hidden_state]
        return found[pooled], torch.stack(states, 1)

    return read
