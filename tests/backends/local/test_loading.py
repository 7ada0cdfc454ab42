"""The diffusion miniature's weights in every form that real ones have on disk, offline."""

import io
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from backends.base import Config, Control, Model, Picture, Readiness, Request, Sizes
from backends.errors import BackendError, BadInput, MissingWeights
from backends.local import Local
from backends.paths import PROJECT
from compare.catalogue.catalogue import load
from tests.backends.local.tiny import adapters
from tests.backends.local.tiny import models as tiny
from tests.servers.pictures import plain

OURS = PROJECT / "assets" / "miniatures"
ASK = Request(prompt="a red star on a white background", seed=5, num_inference_steps=3)
STEER = Control(image=plain(128, 128, b"\xff\xff\xff"), preprocessor="none")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature and its ControlNet, written anew in the forms that the Hub has."""
    here = tmp_path_factory.mktemp("forms")
    pipeline: Any = cast(Any, StableDiffusionPipeline).from_pretrained(OURS / "diffusion")
    net: Any = cast(Any, ControlNetModel).from_pretrained(OURS / "canny")
    pipeline.save_pretrained(here / "whole")
    pipeline.save_pretrained(here / "both")
    tiny.single_file(here / "one.safetensors", here / "whole")
    net.save_pretrained(here / "net sharded", max_shard_size="2MB")
    pipeline.to(torch.float16)
    pipeline.save_pretrained(here / "both", variant="fp16")
    pipeline.save_pretrained(here / "half", variant="fp16")
    pipeline.save_pretrained(here / "half sharded", variant="fp16", max_shard_size="2MB")
    net.to(torch.float16).save_pretrained(here / "net half", variant="fp16")
    return here


def model(source: Path, **changes: Any) -> Model:
    entry = tiny.model(source, sizes=Sizes(native=((128, 128),)))
    return replace(entry, defaults={"guidance_scale": 3.0}, **changes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path_factory.mktemp("home")))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, request: Request = ASK) -> Any:
    assert local.ready(model).state is Readiness.READY
    events = [event async for event in local.generate(model, request)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    return np.asarray(Image.open(io.BytesIO(picture.data))).astype(int)


@pytest.mark.parametrize("form", ["whole", "both", "half", "half sharded", "one.safetensors"])
async def test_every_form_of_a_model_draws_the_same(local: Local, forms: Path, form: str) -> None:
    committed = await drawn(local, model(OURS / "diffusion"))  # its U-Net lies in two shards
    config = {"local": {"config": str(forms / "whole")}}
    other = await drawn(local, model(forms / form), replace(ASK, options=config))
    assert (committed == other).all()  # half precision too: that is what its numbers were kept in


def test_the_forms_are_what_they_are_called(forms: Path) -> None:
    names = [
        {file.name for file in (forms / form / "unet").iterdir()} for form in ("whole", "half")
    ]
    assert names[0] == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert names[1] == {"config.json", "diffusion_pytorch_model.fp16.safetensors"}
    index = "diffusion_pytorch_model.safetensors.index.fp16.json"
    assert (forms / "half sharded" / "unet" / index).is_file()
    assert (forms / "net sharded" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    assert (
        OURS / "diffusion" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    ).is_file()


@pytest.mark.parametrize("form", ["net sharded", "net half"])
async def test_every_form_of_a_controlnet_steers_the_same(
    local: Local, forms: Path, form: str
) -> None:
    asked = replace(ASK, controls=(STEER,))
    nets = [
        model(OURS / "diffusion", controls={"none": str(net)})
        for net in (OURS / "canny", forms / form)
    ]
    free = await drawn(local, nets[0])
    committed, other = [await drawn(local, net, asked) for net in nets]
    assert (free != committed).any()
    assert np.abs(committed - other).mean() < 1


async def test_a_lora_in_both_layouts_changes_what_the_miniature_draws(
    local: Local, forms: Path
) -> None:
    ours = model(OURS / "diffusion")
    files = [
        adapters.lora(forms / f"{name}.safetensors", OURS / "diffusion", kohya=name == "kohya")
        for name in ("diffusers", "kohya")
    ]
    bare = await drawn(local, ours)
    worn = [
        await drawn(local, ours, replace(ASK, options={"local": {"loras": str(file)}}))
        for file in files
    ]
    assert np.abs(bare - worn[0]).mean() > 3
    assert (worn[0] == worn[1]).all()
    assert (bare == await drawn(local, ours)).all()


async def test_a_persons_own_file_needs_no_line_in_the_catalogue(local: Local, forms: Path) -> None:
    """`local/` and the file, as typed in the picker or behind -m."""
    own = load().find(f"local/{forms / 'one.safetensors'}")
    assert own.label == "one.safetensors"
    config = {"local": {"config": str(forms / "whole")}}
    asked = replace(ASK, width=128, height=128, guidance_scale=3.0, options=config)
    committed = await drawn(local, model(OURS / "diffusion"))
    assert (committed == await drawn(local, own, asked)).all()


async def test_a_layout_that_was_fetched_once_needs_no_network_and_no_name(
    local: Local, forms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    settings = shutil.ignore_patterns("*.safetensors")
    # With the four channels of Stable Diffusion's latents, by which its first version is known.
    folder = tiny.diffusion(tmp_path / "model", latents=4)
    shutil.copytree(folder, repository / "snapshots" / "0123abcd", ignore=settings)
    mine = tiny.single_file(tmp_path / "mine.safetensors", folder)
    shutil.move(folder, tmp_path / "elsewhere")
    drew = await drawn(local, tiny.model(mine))
    assert (drew == await drawn(local, tiny.model(tmp_path / "elsewhere"))).all()


@pytest.mark.parametrize(
    ("weight", "layout"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "stable-diffusion-v1-5/stable-diff"),
        (
            "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
            "stabilityai/stable-diffusion-xl-base-1.0",
        ),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "black-forest-labs/FLUX.1-"),
    ],
)
async def test_kinds_are_told_apart_and_offline_a_sentence_says_what_to_do(
    local: Local, tmp_path: Path, weight: str, layout: str
) -> None:
    save_file({weight: torch.zeros(4, 4)}, tmp_path / "mine.safetensors")
    words = f"single file.*{layout}.*Connect to the internet for one run, or name the folder"
    with pytest.raises(MissingWeights, match=words):
        await drawn(local, model(tmp_path / "mine.safetensors"))


def _less(forms: Path) -> Path:
    """The file without its text encoder."""
    weights = load_file(forms / "one.safetensors")
    kept = {name: each for name, each in weights.items() if not name.startswith("cond_stage")}
    save_file(kept, forms / "less.safetensors")
    return forms / "less.safetensors"


def _other(forms: Path) -> Path:
    return tiny.single_file(forms / "tiny.safetensors", tiny.diffusion(forms / "tiny"))


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (_less, MissingWeights, "not a whole model: it has no text encoder"),
        (_other, BadInput, "weights in the file of Tiny are not those of layout"),
    ],
)
async def test_a_file_that_does_not_fit_its_layout_is_a_sentence(
    local: Local, forms: Path, made: Any, kind: type[BackendError], words: str
) -> None:
    layout = forms / "layout"
    if not layout.exists():
        shutil.copytree(forms / "whole", layout, ignore=shutil.ignore_patterns("*.safetensors"))
    asked = replace(ASK, options={"local": {"config": str(layout)}})
    with pytest.raises(kind, match=words) as caught:
        await drawn(local, model(made(forms)), asked)
    assert str(forms) not in str(caught.value)


async def test_what_is_missing_in_a_file_is_taken_from_a_whole_folder(
    local: Local, forms: Path
) -> None:
    """As files are spread that hold the denoiser alone."""
    file = _less(forms)
    asked = replace(ASK, options={"local": {"config": str(forms / "whole")}})
    other = await drawn(local, model(file), asked)
    assert (other == await drawn(local, model(OURS / "diffusion"))).all()
