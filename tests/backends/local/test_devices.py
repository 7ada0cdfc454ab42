"""Several devices: a lane for each, and models spread over them. Two processors stand in for two
cards; what is the same there is everything but the speed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from backends.base import Config, Loading, Model, Picture, Request
from backends.errors import NotReady
from backends.local import Local
from backends.local.memory.devices import device_names
from tests.backends.local.tiny import models as tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    here = tmp_path_factory.mktemp("lanes")
    return [tiny.model(tiny.diffusion(here / f"model{seed}", seed)) for seed in range(3)]


@pytest_asyncio.fixture
async def two(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value={"LINEUP_DEVICE": "cpu:0, cpu:1"}.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def draw(local: Local, model: Model, steps: int = 4) -> tuple[bytes, bool]:
    """The picture's bytes, and whether the model had to be loaded."""
    request = Request(prompt="x", seed=5, num_inference_steps=steps)
    events = [event async for event in local.generate(model, request)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    return picture.data, any(isinstance(event, Loading) for event in events)


async def test_models_spread_over_the_lanes_and_stay_where_they_are(
    two: Local, models: list[Model]
) -> None:
    lanes = [two.lane(model) for model in models]
    assert {lane.name for lane in lanes[:2]} == {"local cpu:0", "local cpu:1"}
    assert all(lane.width == 1 for lane in lanes)
    assert [two.lane(model) for model in models] == lanes
    first = [await draw(two, model) for model in models]
    again = [await draw(two, model) for model in models]
    assert [loaded for _, loaded in first] == [True] * 3
    assert [loaded for _, loaded in again] == [False] * 3
    assert [picture for picture, _ in first] == [picture for picture, _ in again]


async def test_two_lanes_draw_at_once(two: Local, models: list[Model]) -> None:
    seen: list[int] = []

    async def watch(number: int) -> None:
        request = Request(prompt="x", num_inference_steps=40)
        async with aclosing(two.generate(models[number], request)) as events:
            while (await anext(events, None)) is not None:
                seen.append(number)

    await asyncio.gather(watch(0), watch(1))
    # One after the other there would be one change from one model to the other.
    changes = sum(one != other for one, other in pairwise(seen))
    assert changes > 2


async def test_a_device_of_its_own_pins_a_model(two: Local, models: list[Model]) -> None:
    for device in ("cpu:1", "cpu:0"):
        pinned = tiny.model(models[0].source, options={"device": device})
        assert two.lane(pinned).name == f"local {device}"
    assert two.lane(tiny.model("x", options={"device": "cpu"})).name == "local cpu:0"


async def test_a_device_that_is_not_there_is_a_sentence(two: Local, models: list[Model]) -> None:
    with pytest.raises(NotReady, match="no device 'cuda:7'"):
        await draw(two, tiny.model(models[0].source, options={"device": "cuda:7"}))
    with pytest.raises(NotReady, match="no device 'cpu:one'"):
        await draw(two, tiny.model(models[0].source, options={"device": "cpu:one"}))


def test_lists_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_names("cuda:1") == ("cuda:1",)
    assert device_names(" cuda:0,cuda:1 ,cuda:0,") == ("cuda:0", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_names(None) == ("auto",)
