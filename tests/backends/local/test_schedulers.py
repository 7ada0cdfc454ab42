"""A scheduler is chosen by a name that people know, and every model says which ones it can take."""

import os
from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from backends.base import Config, Model, Request
from backends.errors import BadInput
from backends.local import Local
from backends.local.schedulers import SCHEDULER_NAMES, SCHEDULERS
from tests.backends.local.test_inference import events_of, pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers
from tests.servers.pictures import plain

FLOW = [scheduler.name for scheduler in SCHEDULERS if scheduler.flow]
ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    return {
        "diffusion": tiny.model(tiny.diffusion(here / "diffusion")),
        "masked": tiny.model(tiny.masked(here / "masked")),
        "sd3": tiny.model(transformers.sd3(here / "sd3")),
        "flux dev": tiny.model(transformers.flux(here / "dev")),
        "flux schnell": tiny.model(transformers.flux(here / "schnell", dynamic=False)),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path_factory.mktemp("home")))
    yield backend
    await backend.aclose()


def by(name: str, request: Request = ASK) -> Request:
    return replace(request, options={"local": {"scheduler": name}})


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *(("diffusion", name) for name in SCHEDULER_NAMES),
        *(("sd3", name) for name in FLOW),
        *(("flux schnell", name) for name in FLOW),
        *(("flux dev", name) for name in FLOW if name != "Heun"),
    ],
)
async def test_a_picture_is_the_same_alone_and_among_others(
    local: Local, models: dict[str, Model], form: str, name: str
) -> None:
    """So the scheduler takes all its noise from the seed, and the next run finds it unused."""
    [alone] = await pictures(local, models[form], by(name))
    among = await pictures(local, models[form], by(name, replace(ASK, seed=4, count=2)))
    assert np.abs(pixels(alone) - pixels(among[1])).max() <= 1
    assert f"Sampler: {name},".encode() in alone.data


@pytest.mark.parametrize("form", ["diffusion", "sd3", "flux dev"])
async def test_names_mean_different_ways(local: Local, models: dict[str, Model], form: str) -> None:
    names = ("Euler", "Euler Karras", "Euler beta", "DPM++ 2M", "UniPC")
    drawn = [(await pictures(local, models[form], by(name)))[0] for name in names]
    assert len({pixels(picture).tobytes() for picture in drawn}) == len(names)


async def test_the_same_name_in_other_letters_or_as_a_class(
    local: Local, models: dict[str, Model]
) -> None:
    named, lower, kind = [
        pixels((await pictures(local, models["diffusion"], by(name)))[0])
        for name in ("DPM++ 2M", "dpm++ 2m", "DPMSolverMultistepScheduler")
    ]
    assert (named == lower).all() and (named == kind).all()


@pytest.mark.parametrize(
    ("form", "name", "words"),
    [
        ("diffusion", "Eular", "Tiny cannot work with the scheduler Eular. Choose one of Euler, "),
        ("diffusion", "FlowMatchEulerDiscreteScheduler", "Choose one of Euler, .*DDIM"),
        ("sd3", "DDIM", r"Choose one of Euler, Euler Karras, Euler beta, Heun, DPM\+\+ 2M, "),
        ("flux dev", "Heun", r"Choose one of Euler, Euler Karras, Euler beta, DPM\+\+ 2M, "),
        ("masked", "Euler", "It has only its own: choose none."),
    ],
)
async def test_what_a_model_cannot_take_is_a_sentence_with_what_it_can(
    local: Local, models: dict[str, Model], form: str, name: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        await events_of(local, models[form], by(name))


@pytest.mark.parametrize("form", ["sd3", "flux dev", "flux schnell"])
@pytest.mark.parametrize("name", ["Euler Karras", "DPM++ 2M", "UniPC"])
async def test_flow_models_start_from_a_picture_whatever_the_scheduler(
    local: Local, models: dict[str, Model], form: str, name: str
) -> None:
    asked = replace(by(name), image=plain(64, 64, b"\xe0\x20\x20"), strength=0.2)
    [started] = await pictures(local, models[form], asked)
    [other] = await pictures(local, models[form], replace(asked, image=plain(64, 64)))
    assert (pixels(started) != pixels(other)).any()
