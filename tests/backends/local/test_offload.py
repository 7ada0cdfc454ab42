"""Offload and quantization as a user sees them: the picture, the card, and what would fit."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from backends.base import Config, Control, Model, Picture, Receipt, Request
from backends.errors import BadInput, MissingPackage, OutOfMemory
from backends.local import Local
from backends.local.job import ModelSpec
from backends.local.memory.devices import Budgets, Device
from backends.local.memory.offload import out_of_memory_advice
from backends.local.weights.headers import count_parameters
from backends.local.worker import device_worker
from tests.backends.local.test_inference import events_of, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers
from tests.servers.pictures import plain

ASK = Request(prompt="a red circle", seed=5)
packed = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason='needs pip install -e ".[quantized]"'
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    return {
        "diffusion": tiny.model(tiny.diffusion(here / "diffusion")),
        "flow": tiny.model(transformers.flux(here / "flow")),
        "masked": tiny.model(tiny.masked(here / "masked"), family="masked"),
    }


@pytest_asyncio.fixture
async def card(tmp_path: Path) -> AsyncGenerator[Local, None]:
    """A backend on a processor that stands in for a card with memory of its own."""
    backend = Local(Config(value={"LINEUP_DEVICE": "cpu:0"}.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, **options: str) -> tuple[Picture, Receipt]:
    events = await events_of(local, model, replace(ASK, options={"local": options}))
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    return picture, receipt


@pytest.mark.parametrize("offload", ["model", "group"])
@pytest.mark.parametrize("form", ["diffusion", "flow", "masked"])
async def test_an_offloaded_model_draws_the_same_picture(
    card: Local, models: dict[str, Model], form: str, offload: str
) -> None:
    whole, _ = await drawn(card, models[form])
    light, receipt = await drawn(card, models[form], offload=offload)
    again, _ = await drawn(card, models[form], offload=offload)
    assert whole.data == light.data == again.data
    assert not [honour for honour in receipt.honoured.values() if honour.note]


async def test_an_offloaded_model_can_be_steered_and_started(
    card: Local, models: dict[str, Model], tmp_path: Path
) -> None:
    net = tiny.controlnet(tmp_path / "net", Path(models["diffusion"].source))
    model = replace(models["diffusion"], controls={"none": str(net)})
    picture = plain(64, 64, b"\x20\x20\xe0")
    ask = replace(
        ASK, image=picture, strength=0.5, controls=(Control(image=picture, preprocessor="none"),)
    )
    whole = await events_of(card, model, ask)
    light = await events_of(card, model, replace(ask, options={"local": {"offload": "model"}}))
    alone, _ = await drawn(card, model, offload="model")
    assert [e.data for e in whole if isinstance(e, Picture)] == [
        e.data for e in light if isinstance(e, Picture)
    ]
    assert alone.data == (await drawn(card, model))[0].data


async def test_a_processor_says_that_there_is_nothing_to_offload_from(
    models: dict[str, Model], tmp_path: Path
) -> None:
    local = Local(Config(value={}.get, home=tmp_path))
    _, receipt = await drawn(local, models["diffusion"], offload="group")
    assert receipt.honoured["offload"].note == (
        "offload ignored: cpu draws in the machine's own memory"
    )
    await local.aclose()


@packed
@pytest.mark.parametrize(("quantization", "most"), [("8 bit", 4), ("4 bit", 90)])
@pytest.mark.parametrize("form", ["diffusion", "flow"])
async def test_packed_weights_take_less_and_change_the_picture_little(
    card: Local, models: dict[str, Model], form: str, quantization: str, most: int
) -> None:
    pool = device_worker("cpu:0", Budgets()).context.cache
    await asyncio.to_thread(pool.clear)
    full, _ = await drawn(card, models[form])
    whole = pool.device_bytes
    light, _ = await drawn(card, models[form], quantization=quantization)
    assert pool.device_bytes - whole < 0.9 * whole
    assert 0 < np.abs(pixels(full) - pixels(light)).max() <= most


async def test_packing_without_its_package_is_a_sentence(
    card: Local, models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingPackage, match=r'8 bit needs bitsandbytes.*"\.\[quantized\]"'):
        await drawn(card, models["diffusion"], quantization="8 bit")


@pytest.mark.parametrize("name", ["offload", "quantization"])
async def test_a_choice_that_is_none_is_a_sentence(
    card: Local, models: dict[str, Model], name: str
) -> None:
    with pytest.raises(BadInput, match=f"no {name} 'half'. Choose one of empty"):
        await drawn(card, models["diffusion"], **{name: "half"})


def test_the_weights_are_weighed_by_their_headers(models: dict[str, Model]) -> None:
    folder = Path(models["diffusion"].source)
    counts = count_parameters(folder)
    assert counts.keys() == {"unet", "vae", "text_encoder"}
    size = sum(file.stat().st_size for file in (folder / "unet").glob("*.safetensors"))
    assert counts["unet"] * 4 == pytest.approx(size, rel=0.05)


async def test_a_model_larger_than_the_machine_is_refused_before_it_is_read(
    card: Local, models: dict[str, Model], tmp_path: Path
) -> None:
    model = tiny.model(_vast(tmp_path, Path(models["diffusion"].source)), label="Vast")
    with pytest.raises(OutOfMemory, match=r"its weights take 4,000\.0 GB of .*smaller model"):
        await drawn(card, model)
    await drawn(card, models["diffusion"])


GB = 1_000_000_000
FLUX = {"transformer": 12 * GB, "text_encoder_2": 5 * GB, "vae": GB // 10}


def test_what_would_fit_is_said_with_numbers() -> None:
    device = Device("cuda", "bfloat16", 8 * GB, 12 * GB, ram_budget=64 * GB)
    said = out_of_memory_advice(ModelSpec(source="x", label="FLUX"), device, FLUX, 2, (1024, 1024))
    assert said == (
        "FLUX does not fit into this machine's memory, not even alone and one picture at a time: "
        "its weights take 34.2 GB of 12.0 GB. What would help: quantization to 4 bit (8.7 GB of "
        "weights), offload 'group' (hardly any of weights on the device at a time) or a smaller "
        "model."
    )


def test_where_the_weights_fit_a_smaller_picture_is_the_first_thing() -> None:
    device = Device("cpu", "float32", 8 * GB, 100 * GB)
    said = out_of_memory_advice(ModelSpec(source="x", label="FLUX"), device, FLUX, 4, (1024, 768))
    assert "What would help: a smaller picture, such as 512x384, quantization to 8 bit" in said
    assert "offload" not in said


def _vast(folder: Path, model: Path) -> Path:
    """A copy of `model` with a network of a trillion numbers, going by the header of its file."""
    shutil.copytree(model, folder / "vast")
    header = {"x": {"dtype": "F32", "shape": [1000 * GB], "data_offsets": [0, 4000 * GB]}}
    text = json.dumps(header).encode()
    (folder / "vast" / "unet" / tiny.WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    return folder / "vast"
