"""Weights and settings that are rewritten while the app runs: the next picture is of the new ones.

Each case changes files of a model that is in memory, in a way in which trainers, converters and
downloads do, and compares with an untouched copy of the new state.
"""

import json
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from backends.base import Config, Control, Loading, Model, Picture, Request
from backends.local import Local
from tests.backends.local.test_inference import events_of
from tests.backends.local.tiny import models as tiny
from tests.servers.pictures import plain

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=2)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the four latent channels of Stable Diffusion, and a file and a net for it."""
    here = tmp_path_factory.mktemp("original")
    folder = tiny.diffusion(here / "model", latents=4)
    tiny.single_file(here / "one.safetensors", folder)
    tiny.controlnet(here / "net", folder)
    return here


@pytest.fixture
def here(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, which is also in the Hub's cache."""
    shutil.copytree(original, tmp_path / "here")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "here" / "cache"))
    repository = tmp_path / "here" / "cache" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("old")
    shutil.copytree(original / "model", repository / "snapshots" / "old")
    return tmp_path / "here"


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


def trained(file: Path, part: str = "") -> None:
    """Rewrite the weights in place, as a trainer does: names, shapes and size stay."""
    torch.manual_seed(3)
    save_file(
        {
            name: tensor + torch.randn_like(tensor) * 0.05 if name.startswith(part) else tensor
            for name, tensor in load_file(file).items()
        },
        file,
    )


def _v_prediction(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(file.read_text()) | {"prediction_type": "v_prediction"}
    file.write_text(json.dumps(settings))


def _exchanged(folder: Path) -> None:
    """Another model is moved to the place of the folder."""
    shutil.rmtree(folder)
    tiny.diffusion(folder, seed=8, latents=4)


def _newer(here: Path) -> None:
    repository = here / "cache" / "models--someone--tiny"
    shutil.copytree(repository / "snapshots" / "old", repository / "snapshots" / "new")
    trained(repository / "snapshots" / "new" / "unet" / tiny.WEIGHTS)
    (repository / "refs" / "main").write_text("new")


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a single file": ("one.safetensors", lambda here: trained(here / "one.safetensors", "model.d")),
    "the layout's settings": ("one.safetensors", lambda here: _v_prediction(here / "model")),
    "the denoiser of a folder": ("model", lambda here: trained(here / "model/unet" / tiny.WEIGHTS)),
    "the decoder of a folder": ("model", lambda here: trained(here / "model/vae" / tiny.WEIGHTS)),
    "a folder's settings": ("model", lambda here: _v_prediction(here / "model")),
    "a whole folder": ("model", lambda here: _exchanged(here / "model")),
    "a snapshot of the Hub": ("someone/tiny", _newer),
    "a ControlNet": ("model+net", lambda here: trained(here / "net" / tiny.WEIGHTS)),
}


def asked(here: Path, source: str) -> tuple[Model, Request]:
    source, _, net = source.partition("+")
    controls = (Control(image=plain(64, 64), preprocessor="none"),) if net else ()
    request = replace(
        ASK,
        controls=controls,
        options={"local": {"config": str(here / "model")}} if "." in source else {},
    )
    place = source if "/" in source else here / source
    return tiny.model(place, controls={"none": str(here / net)} if net else {}), request


@pytest.mark.parametrize("case", CHANGES)
async def test_what_was_rewritten_is_read_anew(
    local: Local, here: Path, tmp_path: Path, case: str
) -> None:
    source, change = CHANGES[case]

    async def draw(place: Path = here) -> tuple[bytes, list[str]]:
        events = await events_of(local, *asked(place, source))
        [picture] = [event.data for event in events if isinstance(event, Picture)]
        return picture, [event.message for event in events if isinstance(event, Loading)]

    before, loading = await draw()
    assert loading
    assert await draw() == (before, [])  # untouched files are not read again
    change(here)
    after, loading = await draw()
    assert loading == ["loading Tiny"]
    assert after != before
    assert await draw() == (after, [])
    fresh, _ = await draw(Path(shutil.copytree(here, tmp_path / "elsewhere")))
    assert after == fresh
