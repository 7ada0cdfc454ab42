"""A model that the catalogue does not list is drawn at the size that its own files state."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from backends.base import Config, Model, Receipt, Request
from backends.fit import fit
from backends.local import Local
from backends.local.native_size import with_native_size
from compare.catalogue.catalogue import load
from tests.backends.local.test_inference import events_of
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import sdxl
from tests.servers.pictures import plain

VAE = {"block_out_channels": [128, 256, 512, 512]}
UNET = "model.diffusion_model.input_blocks."
ATTENTION = f"{UNET}1.1.transformer_blocks.0.attn2.to_k.weight"


def unlisted(source: Path | str) -> Model:
    return load().find(f"local/{source}")


def size_of(model: Model, config: str = "") -> str:
    fitted = fit(with_native_size(model, config), Request(prompt="x"))
    return f"{fitted.request.width}x{fitted.request.height}"


def folder(here: Path, **parts: dict[str, Any]) -> Path:
    """A pipeline's settings, as published; of its weights there are only the names."""
    index: dict[str, Any] = {"_class_name": "AnyPipeline"}
    for name, config in parts.items():
        (here / name).mkdir(parents=True)
        (here / name / "config.json").write_text(json.dumps(config))
        (here / name / tiny.WEIGHTS).touch()
        index[name] = ["diffusers", "Any"]
    (here / "model_index.json").write_text(json.dumps(index))
    return here


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        pytest.param({"unet": {"sample_size": 64}, "vae": VAE}, "512x512", id="SD 1"),
        pytest.param({"unet": {"sample_size": 96}, "vae": VAE}, "768x768", id="SD 2"),
        pytest.param({"unet": {"sample_size": 128}, "vae": VAE}, "1024x1024", id="SDXL"),
        pytest.param({"unet": {"sample_size": [64, 96]}, "vae": VAE}, "768x512", id="wide"),
        pytest.param({"unet": {}, "vae": VAE}, "512x512", id="an old SD 1"),
        pytest.param({"transformer": {"sample_size": 128}, "vae": VAE}, "1024x1024", id="SD 3"),
        pytest.param({"transformer": {"in_channels": 64}, "vae": VAE}, "1024x1024", id="FLUX"),
        pytest.param(
            {"transformer": {}, "vae": {"temperal_downsample": [False, True, True]}},
            "1024x1024",
            id="Qwen-Image",
        ),
        pytest.param(
            {
                "transformer": {"sample_size": 32},
                "vae": {"encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]},
            },
            "1024x1024",
            id="Sana",
        ),
        pytest.param(
            {"transformer": {}, "vae": {"spatial_compression_ratio": 32}},
            "2048x2048",
            id="HunyuanImage",
        ),
        pytest.param(
            {
                "transformer": {"sample_size": 16},
                "vqvae": {"block_out_channels": [128, 256, 256, 512, 768]},
            },
            "256x256",
            id="aMUSEd",
        ),
        pytest.param({"unet": {"sample_size": 64}}, "64x64", id="IF, whose pixels have no code"),
        pytest.param({"prior": {}, "vae": VAE}, "512x512", id="none is stated"),
        pytest.param({"unet": {"sample_size": "big"}, "vae": VAE}, "512x512", id="nonsense"),
        pytest.param({"unet": {"sample_size": 10**9}, "vae": VAE}, "512x512", id="absurd"),
    ],
)
def test_a_folder_states_it(tmp_path: Path, parts: dict[str, Any], size: str) -> None:
    assert size_of(unlisted(folder(tmp_path / "model", **parts))) == size


@pytest.mark.parametrize(
    ("weights", "metadata", "size"),
    [
        pytest.param({ATTENTION: (320, 768)}, {}, "512x512", id="SD 1"),
        pytest.param({ATTENTION: (320, 1024)}, {}, "768x768", id="SD 2"),
        pytest.param(
            {f"{UNET}0.0.weight": (1,), "conditioner.embedders.0.x": (1,)},
            {},
            "1024x1024",
            id="SDXL",
        ),
        pytest.param(
            {"model.diffusion_model.label_emb.0.0.weight": (1,), f"{UNET}0.0.weight": (1,)},
            {},
            "1024x1024",
            id="SDXL without its text encoders",
        ),
        pytest.param({"double_blocks.0.img_attn.qkv.weight": (1,)}, {}, "1024x1024", id="FLUX"),
        pytest.param(
            {"model.diffusion_model.joint_blocks.0.x.weight": (1,)}, {}, "1024x1024", id="SD 3"
        ),
        pytest.param(
            {ATTENTION: (320, 768)},
            {"modelspec.resolution": "768x1024"},
            "768x1024",
            id="one that states it",
        ),
        pytest.param(
            {ATTENTION: (320, 768)}, {"modelspec.resolution": "large"}, "512x512", id="nonsense"
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_file_states_it(
    tmp_path: Path,
    weights: dict[str, tuple[int, ...]],
    metadata: dict[str, str],
    size: str,
    dtype: torch.dtype,
) -> None:
    file = tmp_path / "one.safetensors"
    tensors = {name: torch.zeros(shape).to(dtype) for name, shape in weights.items()}
    save_file(tensors, file, metadata or None)
    assert size_of(unlisted(file)) == size


def test_the_layout_of_a_file_states_it(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    save_file({ATTENTION: torch.zeros(320, 768)}, file)
    layout = folder(tmp_path / "layout", unet={"sample_size": 128}, vae=VAE)
    assert size_of(unlisted(file), str(layout)) == "1024x1024"
    assert size_of(unlisted(file), "someone/unknown") == "512x512"


def test_files_that_cannot_be_read_are_no_reason_to_fail_here(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    for source in (tmp_path / "cut.safetensors", tmp_path / "nowhere", "someone/unknown"):
        assert size_of(unlisted(source)) == "512x512"


def test_the_catalogue_and_the_user_come_first(tmp_path: Path) -> None:
    source = folder(tmp_path / "model", unet={"sample_size": 128}, vae=VAE)
    assert size_of(tiny.model(source)) == "64x64"
    chosen = fit(with_native_size(unlisted(source)), Request(prompt="x", width=640)).request
    assert (chosen.width, chosen.height) == (640, 640)


async def test_it_is_drawn_at_its_own_size_also_with_a_start_picture(tmp_path: Path) -> None:
    model = unlisted(sdxl.sdxl(tmp_path / "xl"))
    local = Local(Config(value=os.environ.get, home=tmp_path))
    asked = Request(prompt="x", seed=1, num_inference_steps=2)
    for request, size in ((asked, "64x64"), (replace(asked, image=plain(128, 32)), "128x64")):
        receipt = (await events_of(local, model, request))[-1]
        assert isinstance(receipt, Receipt)
        assert (receipt.honoured["size"].used, receipt.honoured["size"].note) == (size, "")
    await local.aclose()
