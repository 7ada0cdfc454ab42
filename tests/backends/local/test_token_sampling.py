"""How freely tokens are drawn: by the likeliest ones alone, or with colder dice."""

import json
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import torch
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import VQDiffusionPipeline

from backends.base import Config, Request, Sizes
from backends.local import Local
from backends.local.families.discrete import truncated
from tests.backends.local.test_inference import pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny.autoregressive import autoregressive
from tests.backends.local.tiny.discrete import discrete


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def test_the_catalogue_says_how_many_of_the_tokens_may_be_drawn(
    local: Local, tmp_path: Path
) -> None:
    sizes = Sizes(native=((64, 64),), only_native=True)
    model = tiny.model(discrete(tmp_path / "tiny"), sizes=sizes)

    async def at(**options: float) -> bytes:
        ask = Request(prompt="a red circle", seed=5, num_inference_steps=4)
        [picture] = await pictures(local, replace(model, options=options), ask)
        return picture.data

    assert await at(truncation_rate=1.0) == await at()
    assert await at(truncation_rate=0.01) != await at()


async def test_a_model_says_itself_how_cold_its_dice_are(local: Local, tmp_path: Path) -> None:
    folder = autoregressive(tmp_path / "tiny")
    model = tiny.model(folder, sizes=Sizes(native=((64, 64),), only_native=True))
    ask = Request(prompt="a red circle", seed=5, count=2)
    [one, other] = await pictures(local, model, ask)
    assert (pixels(one) != pixels(other)).any()
    own = folder / "generation_config.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"temperature": 1e-4}))
    [one, other] = await pictures(
        local, tiny.model(shutil.copytree(folder, tmp_path / "cold"), sizes=model.sizes), ask
    )
    assert (pixels(one) == pixels(other)).all()


@pytest.mark.parametrize("sharpness", [0.1, 3.0])  # nearly all tokens are needed; a few are enough
@pytest.mark.parametrize("rate", [1.0, 0.86, 0.4, 0.0001])
def test_the_likeliest_tokens_are_those_that_the_library_keeps(
    sharpness: float, rate: float
) -> None:
    logits = sharpness * torch.randn(2, 700, 9, generator=torch.Generator().manual_seed(3))
    shares = logits.double().log_softmax(1)
    own = VQDiffusionPipeline.truncate(cast(Any, None), shares, rate)
    assert torch.equal(truncated(shares, rate), own)
