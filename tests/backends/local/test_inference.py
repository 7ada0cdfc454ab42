"""The local backend draws with real pipelines: events, seeds, counts, previews, stops."""

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from backends.base import Config, Event, Loading, Model, Picture, Progress, Receipt, Request
from backends.errors import BadInput, OutOfMemory, Refused
from backends.local import Local, Miniature
from tests.backends.local.tiny import models as tiny


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
    backend.warm()
    yield backend
    await backend.aclose()


async def events_of(backend: Local, model: Model, request: Request) -> list[Event]:
    return [event async for event in backend.generate(model, request)]


async def pictures(backend: Local, model: Model, request: Request) -> list[Picture]:
    events = await events_of(backend, model, request)
    return [event for event in events if isinstance(event, Picture)]


def pixels(picture: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(Image.open(io.BytesIO(picture.data))).astype(np.int16)


@pytest.mark.parametrize("form", ["folder", "file", "masked"])
async def test_events_come_in_order(local: Local, models: dict[str, Model], form: str) -> None:
    model = models[form]
    events = await events_of(local, model, Request(prompt="a red circle", seed=5))

    assert [type(event) for event in events] == [
        Loading,
        *[Progress] * 5,
        Picture,
        Receipt,
    ]
    steps = [(event.step, event.steps) for event in events if isinstance(event, Progress)]
    assert steps == [(None, None), (1, 4), (2, 4), (3, 4), (4, 4)]  # first: drawing begins
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    assert (picture.width, picture.height, picture.seed) == (64, 64, 5)
    assert Image.open(io.BytesIO(picture.data)).size == (64, 64)
    assert receipt.generate
    assert receipt.honoured["seed"].used == 5


async def test_a_single_file_draws_what_its_folder_draws(
    local: Local, models: dict[str, Model]
) -> None:
    request = Request(prompt="a red circle", seed=5)
    [from_folder] = await pictures(local, models["folder"], request)
    [from_file] = await pictures(local, models["file"], request)
    assert from_file.data == from_folder.data


@pytest.mark.parametrize("form", ["folder", "masked"])
async def test_a_seed_gives_the_same_bytes_again(
    local: Local, models: dict[str, Model], form: str
) -> None:
    request = Request(prompt="a red circle", seed=5)
    [first] = await pictures(local, models[form], request)
    [again] = await pictures(local, models[form], request)
    [other] = await pictures(local, models[form], replace(request, seed=6))
    assert first.data == again.data
    assert (pixels(first) != pixels(other)).any()


@pytest.mark.parametrize("form", ["folder", "masked"])
async def test_three_at_once_are_three_singles(
    local: Local, models: dict[str, Model], form: str
) -> None:
    request = Request(prompt="a red circle", seed=5, count=3)
    together = await pictures(local, models[form], request)
    assert [picture.seed for picture in together] == [5, 6, 7]
    for picture in together:
        assert picture.seed is not None
        [single] = await pictures(local, models[form], replace(request, seed=picture.seed, count=1))
        # Sums in another order differ in the last bit, and now and then a pixel by one level.
        assert np.abs(pixels(picture) - pixels(single)).max() <= 1


async def test_without_a_seed_each_run_throws_one_and_says_which(
    local: Local, models: dict[str, Model]
) -> None:
    [first] = await pictures(local, models["folder"], Request(prompt="a red circle"))
    [other] = await pictures(local, models["folder"], Request(prompt="a red circle"))
    assert first.seed is not None and first.seed != other.seed
    [again] = await pictures(
        local, models["folder"], Request(prompt="a red circle", seed=first.seed)
    )
    assert again.data == first.data


@pytest.mark.parametrize("form", ["folder", "masked"])
async def test_previews_arrive_unless_they_are_switched_off(
    local: Local, models: dict[str, Model], form: str
) -> None:
    request = Request(prompt="a red circle", seed=5, num_inference_steps=20)
    shown = await events_of(local, models[form], request)
    previews = [event.preview for event in shown if isinstance(event, Progress) and event.preview]
    assert previews
    assert Image.open(io.BytesIO(previews[-1].data)).size == (8, 8)

    quiet = replace(request, options={"local": {"previews": False}})
    hidden = await events_of(local, models[form], quiet)
    assert not any(event.preview for event in hidden if isinstance(event, Progress))
    assert [e.data for e in shown if isinstance(e, Picture)] == [
        e.data for e in hidden if isinstance(e, Picture)
    ]


@pytest.mark.parametrize("form", ["folder", "masked"])
@pytest.mark.parametrize("step", [1, 3])
async def test_closing_stops_at_the_next_step_and_the_next_run_is_unharmed(
    local: Local, models: dict[str, Model], form: str, step: int
) -> None:
    request = Request(prompt="a red circle", seed=5)
    [before] = await pictures(local, models[form], request)
    long = replace(request, num_inference_steps=900)
    async with aclosing(local.generate(models[form], long)) as events:
        async for event in events:
            if isinstance(event, Progress) and event.step == step:
                break
    [after] = await pictures(local, models[form], request)
    assert after.data == before.data


async def test_the_picture_says_how_it_was_made(local: Local, models: dict[str, Model]) -> None:
    request = Request(prompt="ein roter Kreis ●", negative_prompt="blue", seed=5)
    [picture] = await pictures(local, models["folder"], request)
    text = Image.open(io.BytesIO(picture.data)).info["parameters"]
    assert text == (
        "ein roter Kreis ●\nNegative prompt: blue\n"
        "Steps: 4, Sampler: DDIMScheduler, CFG scale: 3.0, Seed: 5, Size: 64x64, Model: Tiny"
    )


async def test_another_scheduler_draws_another_picture_and_is_gone_afterwards(
    local: Local, models: dict[str, Model]
) -> None:
    request = Request(prompt="a red circle", seed=5)
    [own] = await pictures(local, models["folder"], request)
    euler = replace(request, options={"local": {"scheduler": "EulerDiscreteScheduler"}})
    [other] = await pictures(local, models["folder"], euler)
    [again] = await pictures(local, models["folder"], request)
    assert (pixels(own) != pixels(other)).any()
    assert again.data == own.data


async def test_a_scheduler_of_another_family_is_refused_with_the_ones_that_fit(
    local: Local, models: dict[str, Model]
) -> None:
    wrong = Request(prompt="x", options={"local": {"scheduler": "AmusedScheduler"}})
    with pytest.raises(BadInput, match=r"AmusedScheduler.*Choose one of .*DDIM"):
        await events_of(local, models["folder"], wrong)


async def test_the_miniatures_share_what_is_in_memory(
    local: Local, models: dict[str, Model], tmp_path: Path
) -> None:
    request = Request(prompt="a red circle", seed=5)
    await events_of(local, models["folder"], request)
    miniature = Miniature(Config(value=os.environ.get, home=tmp_path))
    events = await events_of(miniature, models["folder"], request)
    assert not any(isinstance(event, Loading) for event in events)
    assert miniature.lane(models["folder"]) == local.lane(models["folder"])


async def test_a_picture_that_no_memory_can_hold_is_a_sentence_and_no_harm(
    local: Local, models: dict[str, Model]
) -> None:
    sizes = replace(models["folder"].sizes, most=10_000_000)
    vast = replace(models["folder"], sizes=sizes)
    with pytest.raises(OutOfMemory, match="does not fit into this machine's memory"):
        await events_of(local, vast, Request(prompt="x", width=4_000_000, height=4_000_000))
    assert await pictures(local, models["folder"], Request(prompt="x"))


async def test_what_the_safety_check_blacks_out_is_refused(local: Local, tmp_path: Path) -> None:
    model = tiny.model(tiny.diffusion(tmp_path / "strict", checker=True))
    with pytest.raises(Refused, match="safety check"):
        await events_of(local, model, Request(prompt="x"))


@pytest.mark.parametrize("seed", [-1, 2**63])
async def test_a_seed_out_of_range_is_refused(
    local: Local, models: dict[str, Model], seed: int
) -> None:
    with pytest.raises(BadInput, match="seed"):
        await events_of(local, models["folder"], Request(prompt="x", seed=seed))


async def test_more_steps_than_the_model_knows_are_refused(
    local: Local, models: dict[str, Model]
) -> None:
    with pytest.raises(BadInput, match="at most 1000 steps"):
        await events_of(local, models["folder"], Request(prompt="x", num_inference_steps=1001))


async def test_fast_steps_are_not_all_shown(local: Local, models: dict[str, Model]) -> None:
    began = time.monotonic()
    events = await events_of(local, models["folder"], Request(prompt="x", num_inference_steps=200))
    seconds = time.monotonic() - began
    previews = [event.preview for event in events if isinstance(event, Progress) and event.preview]
    assert 0 < len(previews) <= 10 * seconds + 1


async def test_a_folders_own_map_makes_the_previews(local: Local, tmp_path: Path) -> None:
    folder = tiny.diffusion(tmp_path / "model")
    (folder / "preview.json").write_text(json.dumps({"weight": [[0] * 3] * 8, "bias": [1, 0, 0]}))
    events = await events_of(local, tiny.model(folder), Request(prompt="x"))
    previews = [event.preview for event in events if isinstance(event, Progress) and event.preview]
    red, green, blue = np.asarray(Image.open(io.BytesIO(previews[0].data)))[4, 4]
    assert red > 250 and max(green, blue) < 5


async def test_odd_autoencoders_cost_the_previews_and_nothing_else(
    local: Local, tmp_path: Path
) -> None:
    folder = tiny.diffusion(tmp_path / "model")
    (folder / "preview.json").write_text(json.dumps({"weight": [[0] * 3] * 4, "bias": [1, 0, 0]}))
    events = await events_of(local, tiny.model(folder), Request(prompt="x"))
    assert not any(event.preview for event in events if isinstance(event, Progress))
    assert any(isinstance(event, Picture) for event in events)


async def test_two_runs_at_once_take_turns(local: Local, models: dict[str, Model]) -> None:
    request = Request(prompt="a red circle", seed=5)
    [alone] = await pictures(local, models["folder"], request)
    both = await asyncio.gather(
        pictures(local, models["folder"], request), pictures(local, models["masked"], request)
    )
    assert both[0][0].data == alone.data


async def test_cancelling_a_run_that_waits_leaves_the_other_alone(
    local: Local, models: dict[str, Model]
) -> None:
    request = Request(prompt="a red circle", seed=5, num_inference_steps=30)
    first = asyncio.create_task(pictures(local, models["folder"], request))
    second = asyncio.create_task(pictures(local, models["folder"], request))
    await asyncio.sleep(0.05)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert len(await first) == 1
