"""LoRAs and embeddings on models that are offloaded or packed, as on any other."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from backends.base import Config, Model, Picture, Receipt, Request
from backends.local import Local
from tests.backends.local.test_inference import events_of, pixels
from tests.backends.local.tiny import adapters, transformers
from tests.backends.local.tiny import models as tiny

ASK = Request(prompt="a red blob", seed=5, num_inference_steps=2)
NAMED = {"diffusion": "style", "flow": "flux"}
packed = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason='needs pip install -e ".[quantized]"'
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A model of each kind, and beside them folders with a LoRA for each and a word."""
    here = tmp_path_factory.mktemp("models")
    diffusion = tiny.diffusion(here / "diffusion")
    adapters.lora(here / "loras" / "style.safetensors", diffusion)
    flow = transformers.flux(here / "flow")
    adapters.lora(here / "loras" / "flux.safetensors", flow, ("transformer",))
    adapters.embedding(here / "words" / "blob.safetensors")
    return {"diffusion": tiny.model(diffusion), "flow": tiny.model(flow)}


@pytest_asyncio.fixture
async def card(models: dict[str, Model]) -> AsyncGenerator[Local, None]:
    """A backend on a processor that stands in for a card with memory of its own."""
    here = Path(models["flow"].source).parent
    folders = {"LINEUP_LORAS": str(here / "loras"), "LINEUP_EMBEDDINGS": str(here / "words")}
    values = {"LINEUP_DEVICE": "cpu:0", **folders}
    backend = Local(Config(value=values.get, home=here))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, **options: str) -> Picture:
    events = await events_of(local, model, replace(ASK, options={"local": options}))
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    assert not [honour.note for honour in receipt.honoured.values() if honour.note]
    return picture


def apart(one: Picture, other: Picture) -> float:
    """The mean difference of two pictures, in levels of 255."""
    return float(np.abs(pixels(one) - pixels(other)).mean())


@pytest.mark.parametrize("offload", ["model", "group"])
@pytest.mark.parametrize("form", ["diffusion", "flow"])
async def test_an_offloaded_model_wears_a_lora(
    card: Local, models: dict[str, Model], form: str, offload: str
) -> None:
    model, name = models[form], NAMED[form]
    bare, worn = await drawn(card, model), await drawn(card, model, loras=name)
    half = await drawn(card, model, loras=f"{name}:0.5")
    assert min(apart(bare, worn), apart(half, worn), apart(half, bare)) > 0
    # Put on a model that is offloaded already, changed, taken off, and put on once more.
    for loras, whole in (("", bare), (name, worn), (f"{name}:0.5", half), ("", bare), (name, worn)):
        light = await drawn(card, model, offload=offload, loras=loras)
        assert apart(light, whole) == 0, loras


@pytest.mark.parametrize("offload", ["model", "group"])
async def test_an_offloaded_model_learns_a_word_for_one_run(
    card: Local, models: dict[str, Model], offload: str
) -> None:
    model = models["diffusion"]
    bare, known = await drawn(card, model), await drawn(card, model, embeddings="blob")
    assert apart(bare, known) > 0
    for words, whole in (("", bare), ("blob", known), ("", bare)):
        assert apart(await drawn(card, model, offload=offload, embeddings=words), whole) == 0


@packed
@pytest.mark.parametrize("quantization", ["8 bit", "4 bit"])
@pytest.mark.parametrize("form", ["diffusion", "flow"])
async def test_a_packed_model_wears_a_lora(
    card: Local, models: dict[str, Model], form: str, quantization: str
) -> None:
    # Not at full strength: these random layers would blow up what little packing changes.
    model, name = models[form], f"{NAMED[form]}:0.3"
    bare, worn = await drawn(card, model), await drawn(card, model, loras=name)
    light = await drawn(card, model, quantization=quantization)
    clad = await drawn(card, model, quantization=quantization, loras=name)
    # What it adds is what it adds to the whole model, as near as packing lets it be.
    assert apart(clad, light) > 0.5 * apart(worn, bare) > 0
    assert apart(clad, worn) < apart(light, bare) + 0.5 * apart(worn, bare)
    assert apart(await drawn(card, model, quantization=quantization), light) == 0
