"""Z-Image and its ControlNet, which its authors publish as one file without settings."""

import io
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("torch", reason='Needs diffusers: pip install -e ".[local]".')

import numpy as np
import torch
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from diffusers.pipelines.z_image.pipeline_z_image_controlnet import ZImageControlNetPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from backends.base import Config, Control, Model, Picture, Receipt, Request
from backends.errors import BadInput, MissingWeights
from backends.local import Local
from backends.local.control.maps import control_map
from backends.local.weights.sources import Kind, locate
from tests.backends.local.test_controlnets import shape
from tests.backends.local.test_inference import pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import z_image

ASK = Request(prompt="abc", seed=1, num_inference_steps=3, width=64, height=64, guidance_scale=0.0)
CIRCLE, SQUARE = Control(image=shape("circle")), Control(image=shape("square"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    here = tmp_path_factory.mktemp("z_image")
    net = z_image.controlnet(here / "net" / "Union.safetensors")
    return tiny.model(z_image.z_image(here / "model"), controls={"*": str(net)})


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, request: Request) -> tuple[list[Picture], Receipt]:
    events = [event async for event in local.generate(model, request)]
    [receipt] = [event for event in events if isinstance(event, Receipt)]
    return [event for event in events if isinstance(event, Picture)], receipt


async def test_the_map_and_its_weight_change_the_picture(local: Local, model: Model) -> None:
    asks = [ASK] + [
        replace(ASK, controls=controls)
        for controls in ((CIRCLE,), (SQUARE,), (replace(CIRCLE, weight=0.3),))
    ]
    pictures = [(await drawn(local, model, ask))[0][0].data for ask in asks]
    assert len(set(pictures)) == 4
    [again], _ = await drawn(local, model, ASK)
    assert again.data == pictures[0]  # steering leaves nothing behind


async def test_the_picture_is_that_of_a_plain_script(local: Local, model: Model) -> None:
    ask = replace(ASK, controls=(CIRCLE,))
    kinds: Any = ZImageControlNetModel, ZImageControlNetPipeline
    net = kinds[0].from_single_file(
        model.controls["*"], config=str(Path(model.controls["*"]).parent)
    )
    pipeline = kinds[1].from_pretrained(model.source, controlnet=net)
    drawing = pipeline(
        ASK.prompt,
        control_image=Image.open(io.BytesIO(await control_map(CIRCLE, 64, 64))).convert("RGB"),
        controlnet_conditioning_scale=CIRCLE.weight,
        num_inference_steps=3,
        width=64,
        height=64,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    [picture], _ = await drawn(local, model, ask)
    assert abs(pixels(picture).astype(int) - np.asarray(drawing)).max() <= 1


async def test_several_pictures_are_those_of_single_runs(local: Local, model: Model) -> None:
    ask = replace(ASK, controls=(CIRCLE,))
    both, _ = await drawn(local, model, replace(ask, count=2))
    single, _ = await drawn(local, model, replace(ask, seed=2))
    assert abs(pixels(both[1]).astype(int) - pixels(single[0])).max() <= 1


async def test_its_control_lasts_from_the_first_step_to_the_last(
    local: Local, model: Model
) -> None:
    ask = replace(ASK, controls=(replace(CIRCLE, start=0.2, end=0.8),))
    _, receipt = await drawn(local, model, ask)
    [note] = [
        honour.note for honour in receipt.honoured.values() if "control" in (honour.note or "")
    ]
    assert note == "start and end of control ignored: Tiny is steered at every step"


async def test_one_control_at_a_time(local: Local, model: Model) -> None:
    with pytest.raises(BadInput, match="Tiny follows one control picture at a time"):
        await drawn(local, model, replace(ASK, controls=(CIRCLE, SQUARE)))


async def test_a_single_file_without_settings_asks_for_them(
    local: Local, model: Model, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "Union.safetensors"
    alone.parent.mkdir()
    save_file(load_file(model.controls["*"]), alone)
    bare = replace(model, controls={"*": str(alone)})
    with pytest.raises(MissingWeights, match="put its config\\.json beside"):
        await drawn(local, bare, replace(ASK, controls=(CIRCLE,)))


def test_a_file_of_a_hub_id_is_told_from_a_file_here(tmp_path: Path) -> None:
    named = locate("owner/name/Union.safetensors")
    assert (named.kind, named.id, named.file) == (Kind.HUB, "owner/name", "Union.safetensors")
    assert locate("name/Union.safetensors").kind is Kind.FILE
    assert locate(str(tmp_path / "Union.safetensors")).kind is Kind.FILE
    assert locate("assets/miniatures/canny/none.safetensors").kind is Kind.FILE
