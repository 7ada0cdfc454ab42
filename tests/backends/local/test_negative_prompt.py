"""A negative prompt changes the picture, or its card says that it was ignored, and why."""

import io
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from backends.base import Config, Model, Picture, Receipt, Request, Sizes
from backends.local import Local
from tests.backends.local.test_inference import events_of, pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers, z_image
from tests.backends.local.tiny.cascade import cascade

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)
SIZES = Sizes(native=((64, 64),), only_native=True)
UNGUIDED = "it acts through guidance, and a scale of 1 is none"
NEVER = "Tiny takes none"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    base, upper = cascade(here / "cascade")
    stages = {"stages": str(upper)}
    folders = {
        "Stable Diffusion": tiny.diffusion(here / "diffusion"),
        "FLUX.1": transformers.flux(here / "flux"),
        "Z-Image": z_image.z_image(here / "z_image"),
        "aMUSEd": tiny.masked(here / "masked"),
        "IF, one stage": base,
    }
    found = {name: tiny.model(folder, sizes=SIZES) for name, folder in folders.items()}
    entered = {"IF": stages, "IF, unguided": {**stages, "stage_guidance_scale": 1.0}}
    return found | {
        name: tiny.model(base, sizes=SIZES, options=options) for name, options in entered.items()
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


@pytest.mark.parametrize(
    ("name", "guidance", "why"),
    [
        ("Stable Diffusion", 3.0, ""),
        ("Stable Diffusion", 1.0, UNGUIDED),
        ("FLUX.1", 3.0, NEVER),  # its `guidance_scale` tells a distilled model how to draw
        ("Z-Image", 1.0, ""),  # which counts from zero
        ("Z-Image", 0.0, "it acts through guidance, and a scale of 0 is none"),
        ("aMUSEd", 3.0, ""),
        ("aMUSEd", 1.0, UNGUIDED),
        ("IF", 3.0, ""),
        ("IF", 1.0, ""),  # the second stage has a guidance of its own
        ("IF, unguided", 1.0, UNGUIDED),
        ("IF, one stage", 3.0, ""),
        ("IF, one stage", 1.0, UNGUIDED),
    ],
)
async def test_a_negative_prompt_acts_or_is_said_to_be_ignored(
    local: Local, models: dict[str, Model], name: str, guidance: float, why: str
) -> None:
    asked = replace(ASK, guidance_scale=guidance)
    [without] = await pictures(local, models[name], asked)
    *_, drawn, receipt = await events_of(
        local, models[name], replace(asked, negative_prompt="blue")
    )
    assert isinstance(drawn, Picture) and isinstance(receipt, Receipt)
    assert bool((pixels(drawn) != pixels(without)).any()) == (why == "")
    honour = receipt.honoured["negative_prompt"]
    assert honour.note == (f"negative prompt ignored: {why}" if why else "")
    assert honour.used == (None if why else "blue")
    text = Image.open(io.BytesIO(drawn.data)).info["parameters"]
    assert ("blue" in text) == (why == "")
