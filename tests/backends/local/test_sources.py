"""Where weights come from, and what the card says when they are not to be had."""

import errno
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from huggingface_hub import constants

from backends.base import Config, Picture, Readiness, Request
from backends.errors import BackendError, Forbidden, MissingPackage, MissingWeights, NotReady
from backends.local import Local
from backends.local.errors import explain
from backends.local.weights.sources import Kind, locate
from backends.paths import PROJECT
from tests.backends.local.tiny import models as tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.diffusion(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A model that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def draw(local: Local, source: Path | str) -> list[Picture]:
    request = Request(prompt="a red circle", seed=5)
    events = local.generate(tiny.model(source), request)
    return [event async for event in events if isinstance(event, Picture)]


async def fails(local: Local, source: Path | str, kind: type[BackendError], words: str) -> None:
    """The run says it in words, and names no folder of this machine."""
    with pytest.raises(kind, match=words) as caught:
        await draw(local, source)
    assert type(caught.value) is kind
    assert "/" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("CompVis/stable-diffusion-v1-4", Kind.HUB),
        ("assets/miniatures/diffusion", Kind.FOLDER),
        ("/models/mine", Kind.FOLDER),
        ("checkpoints/mine.safetensors", Kind.FILE),
        ("checkpoints/mine.ckpt", Kind.FILE),
    ],
)
def test_a_source_is_told_by_its_form(source: str, kind: Kind) -> None:
    assert locate(source).kind is kind


def test_a_relative_folder_belongs_to_the_project() -> None:
    assert locate("assets/miniatures/diffusion").path == PROJECT / "assets/miniatures/diffusion"


async def test_the_hubs_cache_is_used_without_a_network(
    local: Local, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = tiny.model("someone/tiny-model")
    assert local.ready(model).state is Readiness.UNAVAILABLE  # the tests are offline

    repository = tmp_path / "cache" / "models--someone--tiny-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    shutil.copytree(whole, repository / "snapshots" / "0123abcd")

    assert local.ready(model).state is Readiness.READY
    [cached] = await draw(local, "someone/tiny-model")
    [plain] = await draw(local, whole)
    assert cached.data == plain.data

    (repository / "snapshots" / "0123abcd" / "unet" / tiny.WEIGHTS).unlink()
    assert local.ready(model).state is Readiness.UNAVAILABLE  # half of a download is none


def test_what_must_be_downloaded_says_how_much(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    ready = local.ready(tiny.model("someone/tiny-model", download_gb=4.27))
    assert ready.state is Readiness.NEEDS_DOWNLOAD
    assert ready.sentence == "Downloads 4.3 GB first."


async def test_neither_cached_nor_reachable(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    await fails(local, "someone/tiny-model", MissingWeights, "neither on this machine nor reach")


async def test_no_such_folder(local: Local, tmp_path: Path) -> None:
    await fails(local, tmp_path / "nothing", MissingWeights, "is not there")
    assert local.ready(tiny.model(tmp_path / "nothing")).state is Readiness.UNAVAILABLE


async def test_a_folder_that_is_no_model(local: Local, tmp_path: Path) -> None:
    await fails(local, tmp_path, MissingWeights, r"model_index\.json")


async def test_a_part_is_missing(local: Local, copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    await fails(local, copy, MissingWeights, "its part 'vae' is missing")


async def test_a_shard_is_missing(local: Local, copy: Path) -> None:
    index = copy / "unet" / f"{tiny.WEIGHTS}.index.json"
    index.write_text('{"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}')
    await fails(local, copy, MissingWeights, "some of the weights of 'unet' are missing")


async def test_weights_are_missing(local: Local, copy: Path) -> None:
    (copy / "unet" / tiny.WEIGHTS).unlink()
    await fails(local, copy, MissingWeights, "weights of 'unet' are missing")
    assert local.ready(tiny.model(copy)).state is Readiness.UNAVAILABLE


@pytest.mark.parametrize("kept", [4, 1000, 100_000])
async def test_weights_are_cut_short(local: Local, copy: Path, kept: int) -> None:
    weights = copy / "unet" / tiny.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:kept])
    await fails(local, copy, MissingWeights, "damaged or cut short")


async def test_a_single_file_is_cut_short(local: Local, whole: Path, tmp_path: Path) -> None:
    file = tiny.single_file(tmp_path / "one.safetensors", whole)
    file.write_bytes(file.read_bytes()[:5000])
    await fails(local, file, MissingWeights, "damaged or cut short")


async def test_pickles_are_not_opened(local: Local, copy: Path, tmp_path: Path) -> None:
    weights = copy / "unet" / tiny.WEIGHTS
    weights.rename(weights.with_suffix(".bin"))
    await fails(local, copy, NotReady, "pickle file, which can run code")

    (tmp_path / "one.ckpt").write_bytes(b"\x80\x02}q\x00.")
    await fails(local, tmp_path / "one.ckpt", NotReady, "pickle file, which can run code")
    assert "safetensors" in local.ready(tiny.model(tmp_path / "one.ckpt")).sentence


async def test_after_a_failure_the_next_model_draws(local: Local, copy: Path, whole: Path) -> None:
    (copy / "unet" / tiny.WEIGHTS).write_bytes(b"")
    with pytest.raises(MissingWeights):
        await draw(local, copy)
    assert await draw(local, whole)


async def test_a_single_file_of_an_unknown_layout_needs_the_hub(
    local: Local, whole: Path, tmp_path: Path
) -> None:
    file = tiny.single_file(tmp_path / "one.safetensors", whole)
    with pytest.raises(MissingWeights, match="settings of its kind of model are not on this"):
        await draw(local, file)
    known = tiny.model(file, options={"config": str(whole)})
    events = local.generate(replace(known, label="One"), Request(prompt="x"))
    assert [event async for event in events]


class GatedRepoError(Exception):
    """As huggingface_hub's, told by its name."""


class OutOfMemoryError(RuntimeError):
    """As torch's, told by its name."""


class TorchDynamoException(RuntimeError):
    """As torch's, told by its name."""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TorchDynamoException("no g++"), NotReady, "switch Compile off"),
        (ImportError("no torch"), MissingPackage, r'pip install -e "\.\[local\]"'),
        (OSError(errno.ENOSPC, "No space left on device"), MissingWeights, "disk is full"),
        (GatedRepoError("403"), Forbidden, "hf auth login"),
        (OutOfMemoryError("CUDA"), BackendError, "smaller size"),
        (ValueError("no /home/someone/models here"), BackendError, r"\(a path\)"),
    ],
)
def test_what_libraries_raise_becomes_a_sentence(
    error: Exception, kind: type[BackendError], words: str
) -> None:
    explained = explain(error, "Tiny")
    assert isinstance(explained, kind)
    assert pytest.RaisesExc(kind, match=words).matches(explained)
    assert explained.charged is False
