"""Encoded prompts are reused between runs, and no picture changes for it."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from backends.base import Config, Model, Request
from backends.local import Local
from backends.local.text.embedding_cache import EmbeddingCache, cached_prompt_embeddings
from tests.backends.local.test_inference import pictures
from tests.backends.local.tiny import cascade, sdxl, transformers
from tests.backends.local.tiny import models as tiny

ENCODERS = {"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"}
ASK = Request(prompt="a red circle", negative_prompt="blue", seed=5, count=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    return {
        "diffusion": tiny.model(tiny.diffusion(here / "diffusion")),
        "sd3": tiny.model(transformers.sd3(here / "sd3")),
        "flux": tiny.model(transformers.flux(here / "flux")),
        "pixart": tiny.model(transformers.pixart(here / "pixart")),
        "sdxl": tiny.model(sdxl.sdxl(here / "sdxl")),
        "cascade": tiny.model(cascade.cascade(here / "cascade")[0]),
        "masked": tiny.model(tiny.masked(here / "masked"), family="masked"),
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value={}.get, home=tmp_path))
    yield backend
    await backend.aclose()


@pytest.fixture
def encoded() -> Iterator[list[str]]:
    """The names of the text encoders that were at work, in order."""
    names: list[str] = []

    def note(module: torch.nn.Module, *_: Any) -> None:
        if type(module).__name__ in ENCODERS:
            names.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    yield names
    handle.remove()


@pytest.mark.parametrize("form", ["diffusion", "sdxl", "sd3", "flux", "pixart", "cascade"])
async def test_a_prompt_that_was_encoded_gives_the_same_bytes(
    local: Local, models: dict[str, Model], form: str, encoded: list[str]
) -> None:
    first = await pictures(local, models[form], ASK)
    count = len(encoded)
    assert count > 0
    again = await pictures(local, models[form], ASK)
    assert len(encoded) == count
    other = await pictures(local, models[form], replace(ASK, prompt="a blue ring"))
    assert len(encoded) > count
    back = await pictures(local, models[form], ASK)
    assert [p.data for p in first] == [p.data for p in again] == [p.data for p in back]
    assert first[0].data != other[0].data


async def test_a_family_that_encodes_on_its_own_draws_as_always(
    local: Local, models: dict[str, Model]
) -> None:
    assert await pictures(local, models["masked"], ASK) == await pictures(
        local, models["masked"], ASK
    )


async def test_other_words_for_what_is_not_wanted_are_other_words(
    local: Local, models: dict[str, Model]
) -> None:
    [one, _] = await pictures(local, models["diffusion"], ASK)
    [other, _] = await pictures(local, models["diffusion"], replace(ASK, negative_prompt="red"))
    assert one.data != other.data


class Encoder:
    """A pipeline as far as prompts go."""

    def __init__(self) -> None:
        self.calls = 0

    def encode_prompt(self, prompt: Any, *, count: int = 1) -> Any:
        self.calls += 1
        return torch.ones(count, 8), None


def ask(
    encoder: Encoder, kept: EmbeddingCache, prompt: Any, state: str = "", count: int = 1
) -> Any:
    with cached_prompt_embeddings(encoder, kept, state):
        return encoder.encode_prompt(prompt, count=count)


def test_all_that_changes_the_answer_is_asked_anew() -> None:
    encoder, kept = Encoder(), EmbeddingCache()
    for times in range(2):
        for prompt, state, count in [("a", "", 1), (["a"], "", 1), ("a", "lora", 1), ("a", "", 2)]:
            ask(encoder, kept, prompt, state, count)
        assert encoder.calls == 4, times
    ask(encoder, kept, torch.ones(1))  # a tensor is no key
    ask(encoder, kept, torch.ones(1))
    assert encoder.calls == 6
    encoder.encode_prompt("a")  # outside of a run nothing is kept
    assert encoder.calls == 7


def test_an_answer_that_was_written_into_is_not_given_again() -> None:
    encoder, kept = Encoder(), EmbeddingCache()
    ask(encoder, kept, "a")[0].zero_()
    assert ask(encoder, kept, "a")[0].sum() == 8


def test_the_least_recently_used_goes_when_there_is_no_room() -> None:
    encoder, kept = Encoder(), EmbeddingCache(max_bytes=64)
    for prompt in "abac":
        ask(encoder, kept, prompt)
    assert (encoder.calls, len(kept), kept.size) == (3, 2, 64)
    ask(encoder, kept, "a")
    assert encoder.calls == 3
    ask(encoder, kept, "large", count=10)
    assert len(kept) == 2
