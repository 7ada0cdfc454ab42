"""The local backend starts from a picture: what stays, what changes, what is said."""

import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from backends.base import Applied, Config, Control, Loading, Model, Progress, Receipt, Request
from backends.errors import BadInput
from backends.local import Local
from tests.backends.local.test_inference import events_of, pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.servers.pictures import plain

RED = plain(64, 64, b"\xe0\x20\x20")
BLUE = plain(64, 64, b"\x20\x20\xe0")
ASK = Request(prompt="a red circle", seed=5, num_inference_steps=10, image=RED, strength=0.5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    folder = tiny.diffusion(here / "diffusion")
    file = tiny.single_file(here / "one.safetensors", folder)
    return {
        "folder": tiny.model(folder),
        "file": tiny.model(file, options={"config": str(folder)}),
        "masked": tiny.model(tiny.masked(here / "masked"), family="masked"),
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


@pytest.mark.parametrize("form", ["folder", "file", "masked"])
async def test_only_the_last_steps_are_drawn(
    local: Local, models: dict[str, Model], form: str
) -> None:
    events = await events_of(local, models[form], ASK)
    steps = [(event.step, event.steps) for event in events if isinstance(event, Progress)][1:]
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    receipt = events[-1]
    assert isinstance(receipt, Receipt)
    assert receipt.honoured["strength"] == Applied(0.5, 0.5)
    assert receipt.honoured["image"].note == ""
    assert not [honour for honour in receipt.honoured.values() if honour.note]


@pytest.mark.parametrize("form", ["folder", "masked"])
async def test_another_start_is_another_picture_and_the_same_start_the_same(
    local: Local, models: dict[str, Model], form: str
) -> None:
    [first] = await pictures(local, models[form], ASK)
    [again] = await pictures(local, models[form], ASK)
    [other] = await pictures(local, models[form], replace(ASK, image=BLUE))
    [alone] = await pictures(local, models[form], replace(ASK, image=None, strength=None))
    assert first.data == again.data
    assert (pixels(first) != pixels(other)).any()
    assert (pixels(first) != pixels(alone)).any()


async def test_the_less_strength_the_more_is_left(local: Local, models: dict[str, Model]) -> None:
    model = replace(models["folder"], defaults={"guidance_scale": 1.0})
    [kept] = await pictures(local, model, replace(ASK, strength=0.1))
    far = []
    for strength in (0.1, 0.5, 1.0):
        [picture] = await pictures(local, model, replace(ASK, strength=strength))
        far.append(float(np.abs(pixels(picture) - pixels(kept)).mean()))
    assert far[0] == 0 and far[0] < far[1] < far[2]


async def test_the_file_says_with_what_strength_it_was_made(
    local: Local, models: dict[str, Model]
) -> None:
    [started] = await pictures(local, models["folder"], ASK)
    assert b"CFG scale: 3.0, Denoising strength: 0.5, Seed: 5" in started.data
    [alone] = await pictures(local, models["folder"], replace(ASK, image=None))
    assert b"Denoising" not in alone.data


@pytest.mark.parametrize("form", ["folder", "masked"])
async def test_a_model_of_one_step_takes_as_many_as_it_needs(
    local: Local, models: dict[str, Model], form: str
) -> None:
    events = await events_of(local, models[form], replace(ASK, num_inference_steps=1))
    steps = [(event.step, event.steps) for event in events if isinstance(event, Progress)][1:]
    assert steps == [(1, 1)]
    receipt = events[-1]
    assert isinstance(receipt, Receipt)
    assert receipt.honoured["num_inference_steps"].note == (
        "2 instead of 1 steps: one at least must be left to draw"
    )


async def test_everything_anew_still_draws_the_masked_picture_anew(
    local: Local, models: dict[str, Model]
) -> None:
    whole = replace(ASK, strength=1.0)
    events = await events_of(local, models["masked"], whole)
    assert sum(isinstance(event, Progress) for event in events) == 1 + 9


async def test_the_picture_gets_the_models_size_and_its_own_shape(
    local: Local, models: dict[str, Model]
) -> None:
    [wide] = await pictures(local, models["folder"], replace(ASK, image=plain(400, 100)))
    assert (wide.width, wide.height) == (128, 32)
    [asked] = await pictures(local, models["folder"], replace(ASK, width=96, height=64))
    assert (asked.width, asked.height) == (96, 64)


async def test_the_weights_are_in_memory_once(local: Local, models: dict[str, Model]) -> None:
    [before] = await pictures(local, models["folder"], replace(ASK, image=None, strength=None))
    events = await events_of(local, models["folder"], ASK)
    assert not any(isinstance(event, Loading) for event in events)
    [after] = await pictures(local, models["folder"], replace(ASK, image=None, strength=None))
    assert before.data == after.data


async def test_a_start_and_a_control_picture_together(
    local: Local,
    models: dict[str, Model],
    tmp_path: Path,
) -> None:
    net = tiny.controlnet(tmp_path / "net", Path(models["folder"].source))
    model = replace(models["folder"], controls={"none": str(net)})
    [started] = await pictures(local, model, ASK)
    steering = Control(image=BLUE, preprocessor="none")
    [both] = await pictures(local, model, replace(ASK, controls=(steering,)))
    assert (pixels(started) != pixels(both)).any()


@pytest.mark.parametrize("image", [b"", b"not a picture", plain(4, 4)])
async def test_a_start_picture_of_no_use_is_a_sentence(
    local: Local,
    models: dict[str, Model],
    image: bytes,
) -> None:
    with pytest.raises(BadInput, match="start picture"):
        await events_of(local, models["folder"], replace(ASK, image=image))
