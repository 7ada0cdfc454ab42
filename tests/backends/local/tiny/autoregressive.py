"""A Janus with random weights, as small as its classes allow, in the folder of the real one."""

from pathlib import Path
from typing import Any, Final, cast

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
    PreTrainedTokenizerFast,
)

CODES: Final = 32
TOKENS: Final = 16
"""Four by four, each of 16x16 pixels."""
_START, _PAD, _IMAGE, _FROM, _TO = "<s>", "<pad>", "<image>", "<begin_of_image>", "<end_of_image>"
_SPECIALS: Final = (_START, _PAD, _IMAGE, _FROM, _TO)
_TEMPLATE: Final = (
    "{% for message in messages %}<|User|>: "
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def autoregressive(folder: Path, shard: str = "5GB") -> Path:
    """A Janus of 64x64 pixels, saved in `folder` in files of at most `shard`."""
    torch.manual_seed(5)
    words = _tokenizer()
    numbers = {piece: cast(int, words.convert_tokens_to_ids(piece)) for piece in _SPECIALS}
    config = JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(words),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "bos_token_id": numbers[_START],
            "eos_token_id": numbers[_PAD],
            "pad_token_id": numbers[_PAD],
        },
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "num_image_tokens": TOKENS,
            "projection_dim": 16,
            "depth": 1,
        },
        vq_config={
            "embed_dim": 4,
            "num_embeddings": CODES,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1, 1],
            "num_res_blocks": 0,
            "projection_dim": 16,
            "image_token_embed_dim": 16,
        },
        image_token_id=numbers[_IMAGE],
    )
    model = JanusForConditionalGeneration(config)
    with torch.no_grad():  # a fresh head hardly tells one token from another
        model.model.generation_head.vision_head.weight.mul_(40)
    model.generation_config = GenerationConfig(
        bos_token_id=numbers[_START],
        eos_token_id=numbers[_PAD],
        pad_token_id=numbers[_PAD],
        do_sample=True,
        guidance_scale=5,
        generation_kwargs={"boi_token_id": numbers[_FROM]},
    )
    half = [0.5, 0.5, 0.5]
    pictures = JanusImageProcessor(
        size={"height": 64, "width": 64}, image_mean=half, image_std=half
    )
    model.save_pretrained(str(folder), max_shard_size=shard)
    processor = JanusProcessor(pictures, words, chat_template=_TEMPLATE, num_image_tokens=TOKENS)
    processor.save_pretrained(str(folder))
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """One that knows bytes and no words, and puts the start before every text, as the real one."""
    pieces = [*_SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(pieces)}, merges=[]))
    inner.pre_tokenizer = cast(Any, pre_tokenizers.ByteLevel(add_prefix_space=False))
    inner.post_processor = cast(
        Any,
        processors.TemplateProcessing(single=f"{_START} $A", special_tokens=[(_START, 0)]),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=_START,
        eos_token=_PAD,
        pad_token=_PAD,
        extra_special_tokens={"image_token": _IMAGE, "boi_token": _FROM, "eoi_token": _TO},
        padding_side="left",
        model_max_length=256,
    )
