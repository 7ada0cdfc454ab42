"""Several control pictures at once on this machine, each with its own map, weight and window."""

import gc
import io
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_qwenimage import QwenImageControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image, ImageDraw

from backends.base import Config, Control, Model, Request
from backends.errors import BadInput
from backends.local import Local
from backends.local.control.maps import control_map
from backends.local.families.latent import Latent
from compare.catalogue.catalogue import load
from tests.backends.local.test_inference import events_of, pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import transformers

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)


def shape(kind: str, side: int = 64) -> bytes:
    """A filled circle at the upper left, or a filled square at the lower right."""
    picture = Image.new("RGB", (side, side), "white")
    pen, unit = ImageDraw.Draw(picture), side // 16
    if kind == "circle":
        pen.ellipse((unit, unit, 7 * unit, 7 * unit), fill="black")
    else:
        pen.rectangle((9 * unit, 9 * unit, 15 * unit, 15 * unit), fill="black")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


CIRCLE, SQUARE = Control(image=shape("circle")), Control(image=shape("square"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("models")
    folder = tiny.diffusion(here / "diffusion")
    net = tiny.controlnet(here / "net", folder)
    flows = {
        "sd3": transformers.sd3(here / "sd3", layers=2),
        "flux": transformers.flux(here / "flux"),
    }
    return {
        "diffusion": tiny.model(folder, controls={"canny": str(net), "none": str(net)}),
        **{
            name: tiny.model(
                flow, controls={"*": str(transformers.controlnet(here / "net" / name, flow))}
            )
            for name, flow in flows.items()
        },
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, *controls: Control, **changes: Any) -> Any:
    [picture] = await pictures(local, model, replace(ASK, controls=controls, **changes))
    return pixels(picture)


@pytest.mark.parametrize("name", ["diffusion", "sd3", "flux"])
async def test_each_control_counts_by_itself(
    local: Local, models: dict[str, Model], name: str
) -> None:
    model = models[name]
    circle = await drawn(local, model, CIRCLE)
    both = await drawn(local, model, CIRCLE, SQUARE)
    late = await drawn(local, model, CIRCLE, replace(SQUARE, start=0.5))
    light = await drawn(local, model, CIRCLE, replace(SQUARE, weight=0.3))
    assert all((picture != circle).any() for picture in (both, late, light))
    assert (both != late).any() and (both != light).any()
    torch.rand(1)  # somebody else throws torch's own dice
    assert (await drawn(local, model, CIRCLE) == circle).all(), "the next run is steered by one"


async def test_a_control_without_weight_changes_nothing(
    local: Local, models: dict[str, Model]
) -> None:
    circle = await drawn(local, models["diffusion"], CIRCLE)
    both = await drawn(local, models["diffusion"], CIRCLE, replace(SQUARE, weight=0.0))
    assert (both == circle).all()


async def test_pictures_are_those_of_a_plain_script(local: Local, models: dict[str, Model]) -> None:
    model = models["diffusion"]
    controls = (replace(CIRCLE, weight=0.8, end=0.6), replace(SQUARE, weight=1.2, start=0.2))
    kinds: Any = StableDiffusionControlNetPipeline
    net = cast(Any, ControlNetModel).from_pretrained(model.controls["canny"])
    pipe = kinds.from_pretrained(model.source, controlnet=[net, net])
    expected = pipe(
        ASK.prompt,
        image=[Image.open(io.BytesIO(await control_map(each, 64, 64))) for each in controls],
        controlnet_conditioning_scale=[0.8, 1.2],
        control_guidance_start=[0.0, 0.2],
        control_guidance_end=[0.6, 1.0],
        width=64,
        height=64,
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    picture = await drawn(local, model, *controls)
    assert abs(picture.astype(int) - _array(expected)).max() <= 1


async def test_two_controls_of_one_checkpoint_load_it_once(
    local: Local, models: dict[str, Model]
) -> None:
    await drawn(local, models["diffusion"], CIRCLE, SQUARE, replace(CIRCLE, preprocessor="none"))
    gc.collect()
    nets = [each for each in gc.get_objects() if isinstance(each, ControlNetModel)]
    assert len(nets) == 1


async def test_two_controls_and_a_start_picture(local: Local, models: dict[str, Model]) -> None:
    model, start = models["diffusion"], shape("circle")
    started = await drawn(local, model, image=start, strength=0.75)
    one = await drawn(local, model, CIRCLE, image=start, strength=0.75)
    both = await drawn(local, model, CIRCLE, SQUARE, image=start, strength=0.75)
    assert (started != one).any() and (one != both).any()


async def test_several_pictures_are_those_of_single_runs(
    local: Local, models: dict[str, Model]
) -> None:
    asked = replace(ASK, controls=(CIRCLE, SQUARE), count=2)
    together = await pictures(local, models["diffusion"], asked)
    for number, picture in enumerate(together):
        alone = await drawn(local, models["diffusion"], CIRCLE, SQUARE, seed=5 + number)
        assert abs(pixels(picture).astype(int) - alone).max() <= 1


async def test_one_bad_window_is_a_sentence(local: Local, models: dict[str, Model]) -> None:
    asked = replace(ASK, controls=(CIRCLE, replace(SQUARE, start=0.9, end=0.1)))
    with pytest.raises(BadInput, match="start before it ends"):
        await events_of(local, models["diffusion"], asked)


def test_a_kind_that_is_steered_by_one_says_so() -> None:
    """Qwen-Image's pipeline puts no list of ControlNets into a model of its own."""
    net = cast(Any, QwenImageControlNetModel)(
        num_layers=1, attention_head_dim=16, num_attention_heads=1, joint_attention_dim=16
    )
    nothing: dict[str, Any] = dict.fromkeys(("vae", "text_encoder", "tokenizer", "transformer"))
    pipeline = QwenImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(), **nothing)
    assert Latent().with_controlnets(pipeline, [net], "Tiny").controlnet is net
    with pytest.raises(BadInput, match="Tiny follows one control picture at a time"):
        Latent().with_controlnets(pipeline, [net, net], "Tiny")


async def test_the_miniature_follows_two_maps_at_once(local: Local) -> None:
    from backends.miniatures.world.edges import canny, edge_f1

    model = load().find("miniature/diffusion")
    circle, square = (
        Control(image=shape(kind, 128), start=start)
        for kind, start in (("circle", 0.0), ("square", 0.1))
    )
    maps = [canny(_picture(each.image)) for each in (circle, square)]
    whole = Image.new("L", (128, 128))
    for each in maps:
        whole.paste(255, mask=each.convert("L"))
    asked = replace(
        ASK, prompt="a red circle and a blue square on a white background", num_inference_steps=12
    )
    followed: list[float] = []
    for controls in ((circle,), (square,), (circle, square)):
        [picture] = await pictures(local, model, replace(asked, controls=controls))
        followed.append(edge_f1(canny(_picture(picture.data)), whole.convert("RGB")))
    assert followed[2] >= 0.8 > max(followed[:2]), followed


def _picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _array(picture: Image.Image) -> Any:
    import numpy as np

    return np.asarray(picture).astype(int)
