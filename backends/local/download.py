"""Download weights from the Hub into its cache and report the progress.

The download runs in its own thread, outside the device's worker, and a stop does not interrupt it:
finished parts stay in the cache, and the next run continues from there.
"""

import asyncio
import re
from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from backends.base import Loading
from backends.local.adapters.references import select_single_file
from backends.local.weights.contents import unsuitable_class
from backends.local.weights.sources import (
    SHARED,
    STAGE,
    Source,
    class_of,
    download_marker,
    repository,
)

if TYPE_CHECKING:
    from backends.local.worker import DeviceWorker

_WEIGHTS: Final = re.compile(r"diffusion_pytorch_model[^/]*\.safetensors[^/]*")
_UNKNOWN_TO_DIFFUSERS: Final = frozenset({"VQDiffusionPipeline"})
"""Pipeline classes whose files diffusers (0.42.1) cannot determine."""
_GIGABYTE: Final = 1_000_000_000
_INTERVAL: Final = 1.0


def fetch_pipeline(source: Source, worker: "DeviceWorker") -> None:
    """Fetch a model's single file, or the needed components, for a GPU in half precision."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from huggingface_hub import hf_hub_download, list_repo_files, snapshot_download

    hub_id = source.id
    if source.file:
        snapshot_download(hub_id, allow_patterns=[source.file])
        return
    names = list_repo_files(hub_id)
    settings = next((name for name in ("model_index.json", "config.json") if name in names), "")
    folder = Path(hf_hub_download(hub_id, settings)).parent if settings else None
    class_name = class_of(folder) if folder is not None else ""
    problem = None if folder is None else unsuitable_class(folder, f"'{hub_id}'")
    if problem is not None and class_name != STAGE:  # no gigabytes for what cannot draw
        raise problem
    half = worker.context.device.kind != "cpu"
    if settings != "model_index.json" or class_name in _UNKNOWN_TO_DIFFUSERS:
        snapshot_download(hub_id, allow_patterns=select_files(names, half=half))
        return
    not_fetched: dict[str, Any] = dict.fromkeys(SHARED) if class_name == STAGE else {}
    variant = "fp16" if half else None
    DiffusionPipeline.download(hub_id, variant=variant, use_safetensors=True, **not_fetched)


def fetch_controlnet(source: Source, worker: "DeviceWorker") -> None:
    """Fetch a ControlNet: its single file, or its safetensors; half precision on a GPU."""
    from huggingface_hub import list_repo_files, snapshot_download

    if source.file:
        snapshot_download(source.id, allow_patterns=["config.json", source.file])
        return
    names = [name for name in list_repo_files(source.id) if _WEIGHTS.fullmatch(name)]
    half = [name for name in names if "fp16" in name]
    full = [name for name in names if "fp16" not in name]
    matching = (full or half) if worker.context.device.kind == "cpu" else (half or full)
    snapshot_download(source.id, allow_patterns=["config.json", *matching])


def select_files(names: Iterable[str], *, half: bool) -> list[str]:
    """Select the files of a repository to fetch: settings, vocabularies, each weight file once.

    Weights are safetensors; where a component has both precisions, `half` chooses between them.
    """
    parts: dict[PurePosixPath, list[str]] = {}
    selected: list[str] = []
    for name in names:
        if ".safetensors" in name:
            parts.setdefault(PurePosixPath(name).parent, []).append(name)
        elif name.endswith((".json", ".txt", ".jinja", ".model")):
            selected.append(name)
    for files in parts.values():
        matching = [name for name in files if (".fp16" in name) == half]
        selected += matching or files
    return selected


def fetch_adapter(hub_id: str, file: str, kind: str) -> None:
    """Fetch a LoRA or an embedding: `file`, or the only one of its repository."""
    from huggingface_hub import hf_hub_download, list_repo_files

    name = hub_id.partition("/")[2]
    hf_hub_download(hub_id, file or select_single_file(list_repo_files(hub_id), name, kind))


async def fetch_with_progress(
    hub_id: str, label: str, fetch: Callable[[], None], download_gb: float | None = None
) -> AsyncGenerator[Loading, None]:
    """Run `fetch` in a thread and yield its progress every second."""
    before = await asyncio.to_thread(_cached_bytes, hub_id)
    task = asyncio.get_running_loop().run_in_executor(None, _fetch_marked, hub_id, fetch)
    task.add_done_callback(_retrieve_exception)
    total = f" of {download_gb:.1f}" if download_gb else ""
    yield Loading(message=f"downloading {label}")
    while not (await asyncio.wait({task}, timeout=_INTERVAL))[0]:
        arrived = (await asyncio.to_thread(_cached_bytes, hub_id) - before) / _GIGABYTE
        yield Loading(message=f"downloading {label}: {max(arrived, 0):.1f}{total} GB")
    task.result()


def _fetch_marked(hub_id: str, fetch: Callable[[], None]) -> None:
    """Fetch with a marker file beside the weights, which remains if the download breaks off."""
    marker = download_marker(hub_id)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    fetch()
    marker.unlink(missing_ok=True)


def _retrieve_exception(task: "Future[Any]") -> None:
    """Retrieve the exception, which asyncio would log if the run was stopped before."""
    if not task.cancelled():
        task.exception()


def _cached_bytes(hub_id: str) -> int:
    """Return the bytes of `hub_id` in the cache, unfinished files included."""
    try:
        return sum(_file_size(blob) for blob in (repository(hub_id) / "blobs").iterdir())
    except OSError:
        return 0


def _file_size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # renamed meanwhile: it has just been completed
        return 0
