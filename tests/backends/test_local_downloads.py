"""Which of a repository's files are fetched: no pickles, and no weights twice."""

import pytest

from backends.local.fetch import chosen

VQ_DIFFUSION = [
    "README.md",
    "model_index.json",
    "tokenizer/merges.txt",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.bin",
    "transformer/diffusion_pytorch_model.fp16.bin",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
]
JANUS = [
    "chat_template.jinja",
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
]


@pytest.mark.parametrize("half", [True, False])
def test_a_download_takes_no_pickles_and_each_weight_once(half: bool) -> None:
    few = ["model_index.json", "tokenizer/merges.txt", "transformer/config.json"]
    assert chosen(VQ_DIFFUSION, half=half) == [*few, VQ_DIFFUSION[-1]]
    assert set(chosen(JANUS, half=half)) == set(JANUS[:-1])
    both = ["unet/a.safetensors", "unet/a.fp16.safetensors"]
    assert chosen(both, half=half) == [both[half]]
