"""Models come from the Hub: which files are fetched, and what is said when that goes wrong.

The Hub's own client talks over a socket to a small server that speaks the Hub's wire format.
"""

import json
import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from huggingface_hub import constants, hf_api

from backends.base import (
    Config,
    Control,
    Event,
    Loading,
    Model,
    Picture,
    Readiness,
    Receipt,
    Request,
)
from backends.errors import MissingWeights, NotReady
from backends.local import Local
from backends.local.download import select_files
from compare.catalogue.catalogue import load
from tests.backends.local import faults
from tests.backends.local.test_controlnets import shape
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny import sdxl
from tests.servers.hub import Hub

VQ_DIFFUSION = [
    "README.md",
    "model_index.json",
    "tokenizer/merges.txt",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.bin",
    "transformer/diffusion_pytorch_model.fp16.bin",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
]
JANUS = [
    "chat_template.jinja",
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
]
ID = "someone/tiny"
ASK = Request(prompt="a red circle", seed=5, num_inference_steps=2)
Serve = Callable[[Path], Hub]


@pytest.mark.parametrize("half", [True, False])
def test_a_download_takes_no_pickles_and_each_weight_once(half: bool) -> None:
    few = ["model_index.json", "tokenizer/merges.txt", "transformer/config.json"]
    assert select_files(VQ_DIFFUSION, half=half) == [*few, VQ_DIFFUSION[-1]]
    assert set(select_files(JANUS, half=half)) == set(JANUS[:-1])
    both = ["unet/a.safetensors", "unet/a.fp16.safetensors"]
    assert select_files(both, half=half) == [both[half]]


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path / "home"))
    yield backend
    await backend.aclose()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Serve, None, None]:
    """Puts a folder on a Hub of our own, and points the Hub's client and its cache to it."""
    running: list[Hub] = []

    def started(folder: Path) -> Hub:
        hub = Hub(ID, folder).__enter__()
        running.append(hub)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.origin)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.origin)
        form = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.origin + form)
        return hub

    yield started
    for hub in running:
        hub.__exit__()


async def test_a_model_that_is_fetched_first_is_drawn_at_its_own_size(
    local: Local, serve: Serve, tmp_path: Path
) -> None:
    serve(sdxl.sdxl(tmp_path / "xl"))
    events = await events_of(local, load().find(f"local/{ID}"))
    assert isinstance(events[-1], Receipt)
    assert events[-1].honoured["size"].used == "64x64", "which its files state"


@contextmanager
def _disk(folder: Path, size: str) -> Generator[None, None, None]:
    """A disk of that size at `folder`; skipped where this user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a full disk needs a user who may mount a small one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _enlarge(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def _on_the_hub(model: Model) -> Model:
    return replace(model, source=ID)


async def events_of(local: Local, model: Model) -> list[Event]:
    return [event async for event in local.generate(model, ASK)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"_class_name": "StableDiffusionInpaintPipeline"}, "needs a picture and a mask"),
        ({"_class_name": "FluxFillPipeline"}, "needs a picture and a mask"),
        ({"model_type": "qwen3"}, "is a model of the type 'qwen3'"),
        ({"_class_name": "AutoencoderKL"}, "is a model of the type 'AutoencoderKL'"),
    ],
)
async def test_what_cannot_draw_is_not_fetched(
    local: Local, serve: Serve, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    folder = tiny.diffusion(tmp_path / "model")
    if not settings.get("_class_name", "").endswith("Pipeline"):
        (folder / "model_index.json").unlink()
        (folder / "config.json").write_text(json.dumps(settings))
    else:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({**index, **settings}))
    hub = serve(folder)
    with pytest.raises(NotReady, match=words):
        await events_of(local, _on_the_hub(tiny.model(folder)))
    assert not [name for name in hub.sent if name.endswith(".safetensors")]


@pytest.mark.parametrize("family", faults.FAMILIES)
async def test_every_family_is_fetched_from_the_hub_once_and_draws_the_same(
    local: Local, serve: Serve, tmp_path: Path, family: str
) -> None:
    here = faults.model(family, tmp_path / "model")
    (Path(here.source) / "unsafe.bin").write_bytes(b"\x80\x02}q\x00.")
    hub = serve(Path(here.source))
    there = _on_the_hub(here)
    assert local.ready(there).state is Readiness.NEEDS_DOWNLOAD
    events = await events_of(local, there)
    assert isinstance(events[0], Loading) and events[0].message.startswith("downloading ")
    assert local.ready(there).state is Readiness.READY
    sent = list(hub.sent)
    assert sent and "unsafe.bin" not in sent
    weights = [name for name in sent if name.endswith(".safetensors")]
    assert len(weights) == len(set(weights))
    fetched, again, plain = (
        [event.data for event in found if isinstance(event, Picture)]
        for found in (events, await events_of(local, there), await events_of(local, here))
    )
    assert fetched == again == plain != []
    assert hub.sent == sent  # the second run fetches nothing


async def test_a_controlnet_in_one_file_is_fetched_and_nothing_beside_it(
    local: Local, serve: Serve, tmp_path: Path
) -> None:
    from tests.backends.local.tiny import z_image

    net = z_image.controlnet(tmp_path / "net" / "Union.safetensors")
    (net.parent / "Union-8-steps.safetensors").write_bytes(net.read_bytes())
    hub = serve(net.parent)
    folder = str(z_image.z_image(tmp_path / "model"))
    ask = replace(ASK, prompt="abc", controls=(Control(image=shape("circle")),))
    drawn: list[bytes] = []
    for source in (f"{ID}/Union.safetensors", f"{ID}/Union.safetensors", str(net)):
        model = tiny.model(folder, controls={"*": source})
        events = [event async for event in local.generate(model, ask)]
        drawn += [event.data for event in events if isinstance(event, Picture)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert sorted(hub.sent) == ["Union.safetensors", "config.json"]


async def test_one_file_of_a_hub_id_is_fetched_alone_and_draws_what_it_draws_here(
    local: Local, serve: Serve, tmp_path: Path
) -> None:
    folder = tiny.diffusion(tmp_path / "model")
    (tmp_path / "files").mkdir()
    file = tiny.single_file(tmp_path / "files" / "tiny.safetensors", folder)
    (file.parent / "tiny-inpainting.safetensors").write_bytes(b"something else")
    hub = serve(file.parent)
    ask = replace(ASK, options={"local": {"config": str(folder)}})
    drawn: list[bytes] = []
    for source in (f"{ID}/{file.name}", f"{ID}/{file.name}", str(file)):
        events = [event async for event in local.generate(tiny.model(source), ask)]
        drawn += [event.data for event in events if isinstance(event, Picture)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert hub.sent == [file.name]


@pytest.mark.parametrize("family", faults.FAMILIES)
async def test_a_full_disk_is_a_sentence_and_with_more_room_the_download_goes_on(
    local: Local, serve: Serve, tmp_path: Path, family: str
) -> None:
    model = faults.model(family, tmp_path / "model")
    hub = serve(Path(model.source))
    there = _on_the_hub(model)
    with _disk(tmp_path / "cache", "48k"):
        with pytest.raises(MissingWeights, match="The disk is full, so Tiny could not be down"):
            await events_of(local, there)
        assert local.ready(there).state is Readiness.NEEDS_DOWNLOAD
        _enlarge(tmp_path / "cache", "64m")
        events = await events_of(local, there)
        assert any(isinstance(event, Picture) for event in events)
    assert hub.sent
    [config] = [name for name in set(hub.sent) if name in ("model_index.json", "config.json")]
    assert hub.sent.count(config) == 1  # what was already there is kept


async def test_an_id_that_the_hub_does_not_know(local: Local, serve: Serve, tmp_path: Path) -> None:
    model = faults.model("diffusion", tmp_path / "model")
    serve(Path(model.source))
    with pytest.raises(MissingWeights, match="The Hub knows no public model under the id of Tiny"):
        await events_of(local, replace(model, source="someone/else"))
