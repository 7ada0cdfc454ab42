"""The text side both families share: a tiny CLIP vocabulary and a pretrained CLIP text encoder.

Every word of the world is one token; any other text, in any script, falls back to bytes and so
never fails. The encoder is pretrained for a few minutes by reading the scene's attributes off the
pooled state, left or upper thing first, whatever the order of the sentence.
"""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from backends.miniatures.training.loop.trainer import Trainer, run_stage
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.miniatures.world.textures import TEXTURES

LENGTH: Final = 32
WIDTH: Final = 192
STEPS: Final = 900
START, END = "<|startoftext|>", "<|endoftext|>"

NONE: Final = "none"
QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "background": tuple(world.COLOURS),
    "position": (*world.POSITIONS, NONE),
    "relation": ("left of", "above", NONE),
    "shape 1": world.SHAPES,
    "colour 1": tuple(world.COLOURS),
    "size 1": tuple(world.SIZES),
    "shape 2": (*world.SHAPES, NONE),
    "colour 2": (*world.COLOURS, NONE),
    "size 2": (*world.SIZES, NONE),
    "number": ("1", *map(str, world.GROUPS)),
    "texture": (*TEXTURES, NONE),
    "outlined 1": ("yes", "no"),
    "outlined 2": ("yes", "no", NONE),
}


def answers(scene: world.Scene) -> list[int]:
    """The index of each question's answer, in the order of `QUESTIONS`."""
    first, second = scene.things[0], scene.things[1] if scene.relation else None
    outlined = ["yes" if thing and thing.outlined else "no" for thing in (first, second)]
    words = [
        scene.background,
        scene.position or NONE,
        scene.relation or NONE,
        first.shape,
        first.colour,
        first.size,
        *((second.shape, second.colour, second.size) if second else (NONE, NONE, NONE)),
        str(scene.number),
        scene.texture or NONE,
        outlined[0],
        outlined[1] if second else NONE,
    ]
    return [choices.index(word) for choices, word in zip(QUESTIONS.values(), words, strict=True)]


def byte_letters() -> list[str]:
    """The printable stand-ins that byte-level BPE gives the 256 bytes, in CLIP's order."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + index) for index in range(len(moved))]


def learn_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is a single token."""
    spelled = [(*word[:-1], word[-1] + "</w>") for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in spelled for pair in pairwise(word)):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(word, best) for word in spelled]
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for letters in word:
        if merged and (merged[-1], letters) == pair:
            merged[-1] += letters
        else:
            merged.append(letters)
    return tuple(merged)


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the vocabulary as an ordinary CLIP tokenizer folder and load it."""
    letters, merges = byte_letters(), learn_merges(captions.words())
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
    """An untrained text encoder for that vocabulary."""
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


class Tokens:
    """Captions to token numbers, without asking the tokenizer about a word twice."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._start = cast(int, tokenizer.bos_token_id)
        self._end = cast(int, tokenizer.eos_token_id)

    def __call__(self, sentences: list[str]) -> torch.Tensor:
        """(batch, LENGTH) of int64, padded as the tokenizer pads."""
        return torch.tensor([self._row(sentence) for sentence in sentences])

    def _row(self, sentence: str) -> list[int]:
        row = [self._start]
        for word in sentence.replace(",", " , ").replace(".", " . ").split():
            if word not in self._known:
                self._known[word] = self._tokenizer(word, add_special_tokens=False)["input_ids"]
            row += self._known[word]
        row = [*row[: LENGTH - 1], self._end]
        return row + [self._end] * (LENGTH - len(row))


class Questions(nn.Module):
    """A linear answer to every question, read off an encoder's pooled state; only training asks.

    They begin without an opinion, so that they do not pull at an encoder that knows more than they.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(width, len(c)) for c in QUESTIONS.values()])
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pooled: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy: pooled (batch, width), wanted (batch, questions) from `answers`."""
        losses = [
            F.cross_entropy(head(pooled).float(), wanted[:, index])
            for index, head in enumerate(self.heads)
        ]
        return torch.stack(losses).mean()


class Reader(nn.Module):
    """A text encoder and what it is asked, for pretraining only."""

    def __init__(self, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.encoder, self.questions = encoder, Questions()

    def forward(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """How far the answers are off: tokens (batch, LENGTH), wanted as `Questions` takes it."""
        return self.questions(self.encoder(tokens).text_embeds, wanted)


def pretrain(folder: Path) -> tuple[CLIPTokenizer, CLIPTextModelWithProjection]:
    """The tokenizer (written to `folder`) and the pretrained encoder; resumes or just loads."""
    tokenizer = write_tokenizer(folder)
    trainer = Trainer(Reader(build(tokenizer)), rate=1e-3)
    fast = cast(Reader, trainer.fast)
    # The fused kernel's backward pass is slow on processors at this size.
    fast.encoder.set_attn_implementation("eager")
    tokens, rng = Tokens(tokenizer), random.Random()

    def loss(_: int) -> torch.Tensor:
        scenes = [world.sample(rng) for _ in range(192)]
        sentences = [captions.write(scene, rng) for scene in scenes]
        return fast(tokens(sentences), torch.tensor([answers(scene) for scene in scenes]))

    run_stage("text", trainer, STEPS, loss)
    return tokenizer, cast(Reader, trainer.average).encoder.eval()
