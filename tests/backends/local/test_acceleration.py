"""Switches for speed: what they change, and that the next run knows nothing of them."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch

from backends.base import Config, Model, Picture, Progress, Receipt, Request
from backends.errors import BadInput
from backends.local import Local
from backends.local.acceleration import processor_threads
from backends.local.memory.devices import choose_device
from backends.threads import available_cores
from tests.backends.local.test_inference import events_of, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    return {
        "diffusion": tiny.model(tiny.diffusion(here / "diffusion")),
        "flow": tiny.model(transformers.flux(here / "flow")),
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value={}.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, **options: str | bool) -> tuple[Picture, list[str]]:
    """The picture, and the notes on its card."""
    events = await events_of(local, model, replace(ASK, options={"local": options}))
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    return picture, [honour.note for honour in receipt.honoured.values() if honour.note]


class Layers:
    """Counts how often a layer was at work."""

    def __init__(self) -> None:
        self.worked = 0

    def __call__(self, module: torch.nn.Module, *_: object) -> None:
        self.worked += type(module).__name__ == "Linear"


@pytest.mark.parametrize("cache", ["first block", "taylor seer"])
async def test_a_step_cache_leaves_work_out_and_changes_little(
    local: Local, models: dict[str, Model], cache: str
) -> None:
    layers = Layers()
    handle = torch.nn.modules.module.register_module_forward_hook(layers)
    try:
        plain, _ = await drawn(local, models["flow"])
        every = layers.worked
        cached, notes = await drawn(local, models["flow"], step_cache=cache)
        fewer = layers.worked - every
        again, _ = await drawn(local, models["flow"])
    finally:
        handle.remove()
    print(every, fewer, np.abs(pixels(plain) - pixels(cached)).max())
    assert notes == []
    assert again.data == plain.data
    assert fewer < every


async def test_a_stopped_run_leaves_no_step_cache_behind(
    local: Local, models: dict[str, Model]
) -> None:
    plain, _ = await drawn(local, models["flow"])
    long = replace(ASK, options={"local": {"step_cache": "first block"}})
    async with aclosing(local.generate(models["flow"], long)) as events:
        async for event in events:
            if isinstance(event, Progress):
                break
    assert (await drawn(local, models["flow"]))[0].data == plain.data
    await drawn(local, models["flow"], step_cache="taylor seer")


async def test_where_there_is_no_step_cache_the_card_says_so(
    local: Local, models: dict[str, Model]
) -> None:
    plain, _ = await drawn(local, models["diffusion"])
    picture, notes = await drawn(local, models["diffusion"], step_cache="first block")
    assert notes == [
        "step cache ignored: Tiny takes none, diffusers has none for this kind of model"
    ]
    assert picture.data == plain.data


@pytest.mark.parametrize("form", ["diffusion", "flow"])
@pytest.mark.parametrize("kernel", ["math", "flash"])
async def test_an_attention_kernel_changes_last_digits_at_most(
    local: Local, models: dict[str, Model], form: str, kernel: str
) -> None:
    plain, _ = await drawn(local, models[form])
    picture, notes = await drawn(local, models[form], attention=kernel)
    assert notes == []
    assert np.abs(pixels(plain) - pixels(picture)).max() <= 1


async def test_a_kernel_that_the_device_has_not_is_said(
    local: Local, models: dict[str, Model]
) -> None:
    _, notes = await drawn(local, models["flow"], attention="cudnn")
    assert notes == ["attention kernel ignored: torch has no 'cudnn' on cpu"]


@pytest.mark.parametrize(
    ("name", "words"), [("attention", "attention kernel"), ("step_cache", "step cache")]
)
async def test_a_choice_that_is_none_is_a_sentence(
    local: Local, models: dict[str, Model], name: str, words: str
) -> None:
    with pytest.raises(BadInput, match=f"no {words} 'magic'. Choose one of"):
        await drawn(local, models["flow"], **{name: "magic"})


@pytest.mark.slow
async def test_a_compiled_model_draws_the_same_but_for_last_digits(
    local: Local, models: dict[str, Model]
) -> None:
    from torch._dynamo.utils import counters

    plain, _ = await drawn(local, models["diffusion"])
    counters.clear()
    compiled, notes = await drawn(local, models["diffusion"], compile=True)
    assert counters["stats"]["unique_graphs"] >= 1
    assert notes == []
    assert np.abs(pixels(plain) - pixels(compiled)).max() <= 1
    counters.clear()
    again, _ = await drawn(local, models["diffusion"], compile=True)
    assert counters["stats"]["unique_graphs"] == 0  # the second run waits for no compiler
    assert again.data == compiled.data


def test_threads_follow_the_models_size_for_one_run() -> None:
    device, cores, before = choose_device("cpu"), available_cores(), torch.get_num_threads()
    for parameters, wanted in ((1_000, 1), (10**9, cores)):
        with processor_threads(parameters, device, initial=os.cpu_count() or 1, environment={}):
            assert torch.get_num_threads() == wanted
        assert torch.get_num_threads() == cores
    torch.set_num_threads(before)


def test_threads_that_the_user_chose_stay() -> None:
    device, before = choose_device("cpu"), torch.get_num_threads()
    for initial, environment in ((1, {"OMP_NUM_THREADS": "1"}), (999, {})):
        with processor_threads(10**9, device, initial=initial, environment=environment):
            assert torch.get_num_threads() == before
