"""Bring weights from the Hub into its cache, with news on the way.

The download runs in a thread of its own, outside the device's worker, and is not cut off by a
stop: what has arrived stays in the cache, and the next run continues from there.
"""

import asyncio
import re
from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from backends.base import Loading
from backends.local.adapters.references import only_one
from backends.local.weights.sources import SHARED, STAGE, Source, class_of, repository, unfinished

if TYPE_CHECKING:
    from backends.local.worker import DeviceWorker

_WEIGHTS: Final = re.compile(r"diffusion_pytorch_model[^/]*\.safetensors[^/]*")
_NOT_BY_DIFFUSERS: Final = frozenset({"VQDiffusionPipeline"})
"""Classes of which diffusers (0.42.1) does not know what to fetch."""
_GIGABYTE: Final = 1_000_000_000
_EVERY: Final = 1.0


def pipeline(source: Source, machine: "DeviceWorker") -> None:
    """Fetch a model's one file, or the parts that it needs, for a GPU in half precision."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from huggingface_hub import list_repo_files, snapshot_download

    hub_id = source.id
    if source.file:
        snapshot_download(hub_id, allow_patterns=[source.file])
        return
    half = machine.place.device.kind != "cpu"
    names = list_repo_files(hub_id)
    kind = _class_of(hub_id) if "model_index.json" in names else ""
    if not kind or kind in _NOT_BY_DIFFUSERS:
        snapshot_download(hub_id, allow_patterns=chosen(names, half=half))
        return
    words: dict[str, Any] = dict.fromkeys(SHARED) if kind == STAGE else {}  # not to be fetched
    variant = "fp16" if half else None
    DiffusionPipeline.download(hub_id, variant=variant, use_safetensors=True, **words)


def controlnet(source: Source, machine: "DeviceWorker") -> None:
    """Fetch a ControlNet: its one file, or safetensors, for a GPU in half precision if there."""
    from huggingface_hub import list_repo_files, snapshot_download

    if source.file:
        snapshot_download(source.id, allow_patterns=["config.json", source.file])
        return
    names = [name for name in list_repo_files(source.id) if _WEIGHTS.fullmatch(name)]
    half = [name for name in names if "fp16" in name]
    whole = [name for name in names if "fp16" not in name]
    wanted = (whole or half) if machine.place.device.kind == "cpu" else (half or whole)
    snapshot_download(source.id, allow_patterns=["config.json", *wanted])


def chosen(names: Iterable[str], *, half: bool) -> list[str]:
    """Of a repository's files those to fetch: settings, words, and each part's weights once.

    Weights are safetensors in half precision where `half` wants it, each where there is a choice.
    """
    parts: dict[PurePosixPath, list[str]] = {}
    kept: list[str] = []
    for name in names:
        if ".safetensors" in name:
            parts.setdefault(PurePosixPath(name).parent, []).append(name)
        elif name.endswith((".json", ".txt", ".jinja", ".model")):
            kept.append(name)
    for files in parts.values():
        wanted = [name for name in files if (".fp16" in name) == half]
        kept += wanted or files
    return kept


def _class_of(hub_id: str) -> str:
    from huggingface_hub import hf_hub_download

    return class_of(Path(hf_hub_download(hub_id, "model_index.json")).parent)


def adapter(hub_id: str, file: str, noun: str) -> None:
    """Fetch a LoRA or an embedding: `file`, or the one of its repository."""
    from huggingface_hub import hf_hub_download, list_repo_files

    name = hub_id.partition("/")[2]
    hf_hub_download(hub_id, file or only_one(list_repo_files(hub_id), name, noun))


async def fetched(
    hub_id: str, label: str, fetch: Callable[[], None], download_gb: float | None = None
) -> AsyncGenerator[Loading, None]:
    """Run `fetch` and say every second how far it is."""
    before = await asyncio.to_thread(_size, hub_id)
    task = asyncio.get_running_loop().run_in_executor(None, _marked, hub_id, fetch)
    task.add_done_callback(_seen)
    of = f" of {download_gb:.1f}" if download_gb else ""
    yield Loading(message=f"downloading {label}")
    while not (await asyncio.wait({task}, timeout=_EVERY))[0]:
        arrived = (await asyncio.to_thread(_size, hub_id) - before) / _GIGABYTE
        yield Loading(message=f"downloading {label}: {max(arrived, 0):.1f}{of} GB")
    task.result()


def _marked(hub_id: str, fetch: Callable[[], None]) -> None:
    """Fetch with a mark beside what arrives, which stays when the download breaks off."""
    mark = unfinished(hub_id)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    fetch()
    mark.unlink(missing_ok=True)


def _seen(task: "Future[Any]") -> None:
    """Look at the outcome, so that nobody complains when the run was stopped before it."""
    if not task.cancelled():
        task.exception()


def _size(hub_id: str) -> int:
    """The bytes of `hub_id` in the cache, finished or on the way."""
    try:
        return sum(_bytes(blob) for blob in (repository(hub_id) / "blobs").iterdir())
    except OSError:
        return 0


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # renamed while we were looking: it has just arrived
        return 0
