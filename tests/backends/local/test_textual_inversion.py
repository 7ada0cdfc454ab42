"""Textual inversions: words whose embeddings a file brings, for one run and no longer."""

import io
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from PIL import Image
from safetensors.torch import save_file

from backends.base import Applied, Config, Loading, Model, Picture, Receipt, Request
from backends.errors import BackendError, BadInput, MissingWeights, NotReady
from backends.local import Local
from tests.backends.local.test_inference import events_of
from tests.backends.local.tiny import adapters, sdxl, transformers
from tests.backends.local.tiny import models as tiny

ASK = Request(prompt="a moodboard circle", seed=5, num_inference_steps=2)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("here")
    tiny.diffusion(here / "model")
    sdxl.sdxl(here / "sdxl")
    transformers.pixart(here / "pixart")
    adapters.embedding(here / "embeddings" / "moodboard.safetensors")
    adapters.embedding(here / "concept" / "learned_embeds.safetensors", "<mascot>", count=1)
    adapters.embedding(here / "embeddings" / "broad.safetensors", width=768)
    return here


@pytest.fixture
def model(here: Path) -> Model:
    return tiny.model(here / "model")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(here: Path) -> AsyncGenerator[Local, None]:
    values = {"LINEUP_EMBEDDINGS": str(here / "embeddings")}
    backend = Local(Config(value=values.get, home=here / "home"))
    yield backend
    await backend.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(local: Local, here: Path) -> bytes:
    """What the model draws that does not know the word."""
    return (await drawn(local, tiny.model(here / "model"), ASK))[0]


def knowing(embeddings: str, prompt: str = ASK.prompt) -> Request:
    return replace(ASK, prompt=prompt, options={"local": {"embeddings": embeddings}})


async def drawn(local: Local, model: Model, request: Request) -> tuple[bytes, Receipt]:
    events = await events_of(local, model, request)
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    return Image.open(io.BytesIO(picture.data)).tobytes(), receipt


async def test_a_word_means_what_its_file_says_for_one_run(
    local: Local, model: Model, bare: bytes
) -> None:
    events = await events_of(local, model, knowing("moodboard"))
    assert not any(isinstance(event, Loading) for event in events)
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    assert Image.open(io.BytesIO(picture.data)).tobytes() != bare
    assert receipt.honoured["embeddings"] == Applied("moodboard", "moodboard")
    assert b'Embeddings: "moodboard"' in picture.data
    assert bare == (await drawn(local, model, ASK))[0]


async def test_a_word_that_the_prompt_does_not_have_changes_nothing(
    local: Local, model: Model
) -> None:
    plain, _ = await drawn(local, model, replace(ASK, prompt="a circle of moodboards"))
    unused, receipt = await drawn(local, model, knowing("moodboard", "a circle of moodboards"))
    assert plain == unused
    note = "embedding ignored: the prompt does not have its word “moodboard”"
    assert receipt.honoured["embeddings"] == Applied("moodboard", None, note)


@pytest.mark.parametrize(
    ("prompt", "negative", "used"),
    [
        ("a MOODBOARD, circle", "", "moodboard"),
        ("a circle", "(moodboard)", "moodboard"),
        ("a moodboard <mascot>", "", "moodboard, <mascot>"),
        ("a circle", "<mascot>", "<mascot>"),
        ("mood board", "", None),
    ],
)
async def test_the_words_that_are_used_are_named(
    local: Local, model: Model, here: Path, prompt: str, negative: str, used: str | None
) -> None:
    asked = replace(
        knowing(f"moodboard, {here / 'concept'}", prompt),
        negative_prompt=negative,
        num_inference_steps=1,
    )
    _, receipt = await drawn(local, model, asked)
    words = receipt.honoured["embeddings"]
    assert words.used == used
    missing = [word for word in ("moodboard", "<mascot>") if word not in (used or "")]
    assert all(f"“{word}”" in words.note for word in missing) and bool(words.note) is bool(missing)


async def test_a_file_may_bring_its_own_word_and_a_person_another(
    local: Local, model: Model, here: Path
) -> None:
    own, _ = await drawn(local, model, knowing(str(here / "concept"), "a <mascot> circle"))
    other, receipt = await drawn(local, model, knowing(f"{here / 'concept'}:pal", "a pal circle"))
    assert own == other
    assert receipt.honoured["embeddings"].used == "pal"


async def test_all_its_embeddings_count(local: Local, model: Model, here: Path) -> None:
    both, _ = await drawn(local, model, knowing("moodboard"))
    one = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))[:1]
    save_file({"emb_params": one.clone()}, here / "moodboard.safetensors")
    first, _ = await drawn(local, model, knowing(str(here / "moodboard.safetensors")))
    assert both != first


async def test_models_with_two_text_encoders_take_two(local: Local, here: Path) -> None:
    model = tiny.model(here / "sdxl")
    dice = torch.Generator().manual_seed(2)
    pair = {name: torch.randn(1, 32, generator=dice) for name in ("clip_l", "clip_g")}
    save_file(pair, here / "both.safetensors")
    asked = replace(ASK, prompt="a both circle")
    before, _ = await drawn(local, model, asked)
    file = str(here / "both.safetensors")
    known, _ = await drawn(local, model, knowing(file, asked.prompt))
    assert known != before
    assert before == (await drawn(local, model, asked))[0]
    with pytest.raises(BadInput, match="it has 32 numbers a word, the model 32 and 32"):
        await events_of(local, model, knowing("moodboard"))


async def test_a_family_without_says_so_on_the_card(local: Local, here: Path) -> None:
    _, receipt = await drawn(local, tiny.model(here / "pixart"), knowing("moodboard"))
    assert receipt.honoured["embeddings"].note == "embedding ignored: Tiny takes none"


def _pickled(here: Path) -> str:
    (here / "embeddings" / "old.pt").write_bytes(b"\x80\x02}q\x00.")
    return "old"


def _cut(here: Path) -> str:
    whole = (here / "embeddings" / "moodboard.safetensors").read_bytes()
    (here / "cut.safetensors").write_bytes(whole[:100])
    return str(here / "cut.safetensors")


def _lora(here: Path) -> str:
    return str(adapters.lora(here / "lora.safetensors", here / "model", ("unet",)))


@pytest.mark.parametrize(
    ("embeddings", "kind", "words"),
    [
        ("broad", BadInput, "'broad' does not fit Tiny: it has 768 numbers a word, the model 32"),
        ("moodboard:a", BadInput, "'a' is a word that Tiny knows already"),
        ("mood", BadInput, r"no embedding 'mood' .*LINEUP_EMBEDDINGS.*broad, moodboard"),
        (_pickled, NotReady, "the embedding 'old' are a pickle file"),
        (_cut, MissingWeights, "'cut' is damaged or cut short"),
        (_lora, BadInput, "'lora' is no embedding"),
    ],
)
async def test_what_cannot_be_learnt_is_a_sentence_and_the_next_run_is_unharmed(
    local: Local,
    model: Model,
    here: Path,
    bare: bytes,
    embeddings: Any,
    kind: type[BackendError],
    words: str,
) -> None:
    named = embeddings if isinstance(embeddings, str) else embeddings(here)
    with pytest.raises(kind, match=words) as caught:
        await events_of(local, model, knowing(named))
    assert type(caught.value) is kind
    assert str(here) not in str(caught.value)
    assert bare == (await drawn(local, model, ASK))[0]
