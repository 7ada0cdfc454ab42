"""The end of a prompt that a text encoder does not read is named on the card."""

import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from backends.base import Config, Model, Picture, Receipt, Request, Sizes
from backends.local import Local
from tests.backends.local.test_inference import events_of, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers
from tests.backends.local.tiny.cascade import cascade

ASK = Request(prompt="", seed=5, num_inference_steps=2)
SIZES = Sizes(native=((64, 64),), only_native=True)
CLIP = 32 - 2
"""What is left of the tiny tokenizer's length beside the marks of beginning and end."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    base, upper = cascade(here / "cascade")
    found = {
        "Stable Diffusion": tiny.model(tiny.diffusion(here / "diffusion"), sizes=SIZES),
        "FLUX.1": tiny.model(transformers.flux(here / "flux"), sizes=SIZES),
        "aMUSEd": tiny.model(tiny.masked(here / "masked"), sizes=SIZES),
        "IF": tiny.model(base, sizes=SIZES, options={"stages": str(upper)}),
    }
    return found


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, request: Request) -> tuple[Picture, Receipt]:
    *_, picture, receipt = await events_of(local, model, request)
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    return picture, receipt


@pytest.mark.parametrize(
    ("name", "word", "reads"),
    [
        ("Stable Diffusion", "a ", CLIP),
        ("FLUX.1", "a", 511),  # by its T5, whose CLIP is cut off long before
        ("aMUSEd", "a ", CLIP),
        ("IF", "a ", 76),
    ],
)
async def test_what_is_not_read_is_named_and_changes_nothing(
    local: Local, models: dict[str, Model], name: str, word: str, reads: int
) -> None:
    model, most = models[name], reads if word == "a " else reads - 1  # T5 begins with a space
    whole, told = await drawn(local, model, replace(ASK, prompt=word * most))
    assert "prompt_length" not in told.honoured
    longer, told = await drawn(local, model, replace(ASK, prompt=word * (most + 2)))
    honour = told.honoured["prompt_length"]
    assert (honour.requested, honour.used) == (reads + 2, reads)
    assert honour.note == (
        f"end of prompt ignored: Tiny reads {reads} tokens, this has {reads + 2}: "
        f"“{(word * 2).strip()}”"
    )
    assert (pixels(whole) == pixels(longer)).all()
    shorter, _ = await drawn(local, model, replace(ASK, prompt=word * (most - 1)))
    assert name == "aMUSEd" or (pixels(whole) != pixels(shorter)).any()  # it hardly listens


async def test_of_a_negative_prompt_too_and_of_much_only_the_beginning_is_shown(
    local: Local, models: dict[str, Model]
) -> None:
    request = replace(ASK, prompt="a", negative_prompt="a " * 200)
    _, told = await drawn(local, models["Stable Diffusion"], request)
    assert "prompt_length" not in told.honoured
    note = told.honoured["negative_prompt_length"].note
    assert note.startswith("end of negative prompt ignored: Tiny reads")
    assert note.endswith("a a…”") and len(note) < 160
