"""Resolve a model's `source` and check that its weights are on this machine, without heavy imports.

    assets/miniatures/diffusion      a folder, relative to the project or absolute
    somewhere/model.safetensors      a single file
    CompVis/stable-diffusion-v1-4    a Hub id: exactly one slash, and no such folder here
    owner/name/net.safetensors       one file of a Hub id, where no such file is here

Weights are read from safetensors only: a pickle can run code when it is opened.
"""

import hashlib
import json
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from backends.errors import MissingWeights, NotReady
from backends.local.errors import PICKLED
from backends.paths import PROJECT

PICKLES: Final = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
_OTHER_FORMATS: Final = {
    ".gguf": "GGUF, whose packed weights are not read here. Use a version in safetensors.",
    ".onnx": "ONNX, which is not read here. Use a version in safetensors.",
    ".sft": "safetensors under a short name. Rename it to end in .safetensors.",
}
_HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_HUB_FILE: Final = re.compile(rf"({_HUB_ID.pattern})/([\w-][\w.-]*)")


STAGE: Final = "IFSuperResolutionPipeline"
SHARED: Final = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "watermarker")
"""Components that further stages of a cascade do not need: they share the first stage's."""


class Kind(StrEnum):
    """The kinds of sources."""

    FOLDER = "folder"
    FILE = "file"
    HUB = "Hub id"


@dataclass(frozen=True, slots=True)
class Source:
    """A located source: `path` for a folder or a file, `id` for the Hub, with one `file` or all."""

    kind: Kind
    id: str
    path: Path = PROJECT
    file: str = ""

    @property
    def single(self) -> bool:
        """Whether the source is one file, here or on the Hub."""
        return self.kind is Kind.FILE or bool(self.file)


def locate(source: str) -> Source:
    """Return the kind and location of `source`, which need not exist yet."""
    path = Path(source).expanduser()
    path = path if path.is_absolute() else PROJECT / path
    if path.suffix.lower() in PICKLES | {".safetensors"} | _OTHER_FORMATS.keys():
        named = _HUB_FILE.fullmatch(source)
        if named and not path.parent.is_dir():
            return Source(Kind.HUB, named[1], file=named[2])
        return Source(Kind.FILE, source, path)
    if _HUB_ID.fullmatch(source) and not path.is_dir():
        return Source(Kind.HUB, source)
    return Source(Kind.FOLDER, source, path)


def repository(hub_id: str) -> Path:
    """Return the folder of `hub_id` in the Hub's cache, which need not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"


def snapshot(hub_id: str) -> Path | None:
    """Return the newest cached snapshot of `hub_id`, complete or not, None without one."""
    try:
        commit = (repository(hub_id) / "refs" / "main").read_text().strip()
    except OSError:
        return None
    folder = repository(hub_id) / "snapshots" / commit
    return folder if folder.is_dir() else None


def download_marker(hub_id: str) -> Path:
    """Return the marker file that exists while a download by Lineup is incomplete.

    File names alone do not tell: a tokenizer's folder, say, does not list the files that it needs.
    """
    return repository(hub_id) / "lineup-unfinished"


def is_offline() -> bool:
    """Tell whether the user set the Hub's client to offline."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def find(source: Source, label: str) -> Path | None:
    """Return the folder or file to load, None if it must be downloaded first.

    Raises:
        NotReady: the folder or file is not a model that can be loaded.
    """
    match source.kind:
        case Kind.HUB:
            folder = None if download_marker(source.id).exists() else snapshot(source.id)
            if folder is None or _source_fault(folder, source, label) is not None:
                return None
            return folder / source.file
        case Kind.FILE:
            problem = _file_fault(source.path, label)
        case Kind.FOLDER:
            problem = folder_fault(source.path, label)
    if problem is not None:
        raise problem
    return source.path


def complete_path(source: str, label: str) -> Path:
    """Return the folder or file to load, after any download.

    Raises:
        NotReady: it does not exist, or is not a model that can be loaded.
    """
    located = locate(source)
    path = find(located, label)
    if path is not None:
        return path
    folder = snapshot(located.id)  # downloaded just now, and yet incomplete
    problem = None if folder is None else _source_fault(folder, located, label)
    raise problem or MissingWeights(f"The weights of {label} are not on this machine.")


def tokenizer_file(source: str) -> Path | None:
    """Return the file of the tokenizer that reads most of a prompt, None if it is not here.

    Of several, that is the last: the first is CLIP's, a further one T5's.
    """
    located = locate(source)
    if located.single:
        return None
    folder = snapshot(located.id) if located.kind is Kind.HUB else located.path
    parts = ("tokenizer_3", "tokenizer_2", "tokenizer", "processor", "")
    files = (folder / part / "tokenizer.json" for part in parts) if folder else ()
    return next((file for file in files if file.is_file()), None)


def files_version(sources: Iterable[str]) -> str:
    """Return a hash of the names, times and sizes of all files of `sources`.

    It changes when a file is rewritten, added or taken away, and when the Hub's cache gets a newer
    snapshot.
    """
    digest = hashlib.sha256()
    for source in sources:
        located = locate(source)
        path = snapshot(located.id) if located.kind is Kind.HUB else located.path
        path = path / located.file if path is not None else located.path
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            try:
                state = file.stat()
            except OSError:
                continue  # loading says what is missing
            if not stat.S_ISDIR(state.st_mode):
                digest.update(f"{file} {state.st_mtime_ns} {state.st_size}\n".encode())
    return digest.hexdigest()[:16]


def class_of(path: Path) -> str:
    """Return the class of the diffusers pipeline, or the transformers model type, in `path`.

    The result is "" for a file.
    """
    index, config = (_read(path / name) or {} for name in ("model_index.json", "config.json"))
    named = index.get("_class_name") or config.get("model_type") or config.get("_class_name")
    return str(named or "")


def variant_in(folder: Path, device_kind: str) -> str | None:
    """Return the variant to load: half precision on a GPU if available, or if there is no other."""
    files = list(folder.glob("**/*.safetensors"))
    half = [file for file in files if ".fp16" in file.name]
    return "fp16" if half and (device_kind != "cpu" or len(half) == len(files)) else None


def folder_fault(folder: Path, label: str) -> NotReady | None:
    """Return an error if `folder` is not a complete model, judged by file names only."""
    if not folder.is_dir():
        return MissingWeights(
            f"The folder of {label} is not there. Check the model's source in the catalogue."
        )
    if (folder / "config.json").is_file() and not (folder / "model_index.json").is_file():
        return weights_fault(folder, label)  # a single network, such as a ControlNet
    parts = _read(folder / "model_index.json")
    if parts is None:
        return MissingWeights(
            f"The folder of {label} has no readable model_index.json, so it is not a diffusers "
            "model. Choose the folder that holds model_index.json."
        )
    not_needed = SHARED if parts.get("_class_name") == STAGE else ()
    for name, value in parts.items():
        if name.startswith("_") or not isinstance(value, list) or cast(list[Any], value)[0] is None:
            continue
        if name in not_needed:
            continue
        if not (folder / name).is_dir():
            return MissingWeights(
                f"{label} is incomplete: its part '{name}' is missing. Copy or download it again."
            )
        if (folder / name / "config.json").is_file():
            problem = weights_fault(folder / name, label, name)
            if problem is not None:
                return problem
    return None


def weights_fault(folder: Path, label: str, part: str = "") -> NotReady | None:
    """Return an error if a component's weights are incomplete, judged by file names only."""
    weights = f"the weights of '{part}'" if part else "its weights"
    for index in folder.glob("*.safetensors.index*.json"):
        shards = cast(dict[str, str], (_read(index) or {}).get("weight_map", {}))
        if not all((folder / shard).is_file() for shard in set(shards.values())):
            return MissingWeights(
                f"{label} is incomplete: some of {weights} are missing. Download it again."
            )
    if any(folder.glob("*.safetensors")):
        return None
    if any(path.suffix in PICKLES for path in folder.iterdir()):
        return NotReady(PICKLED.format(label=label))
    return MissingWeights(
        f"{label} is incomplete: {weights} are missing, or not in safetensors. Download it again."
    )


def _source_fault(folder: Path, source: Source, label: str) -> NotReady | None:
    """Return an error if a download, of a whole Hub id or of one file, is incomplete."""
    return _file_fault(folder / source.file, label) if source.file else folder_fault(folder, label)


def layout_beside(file: Path, kind: str) -> Path | None:
    """Return the folder of `file` if it holds the settings of a model of class `kind`."""
    settings = _read(file.with_name("config.json")) or {}
    return file.parent if settings.get("_class_name") == kind else None


def _file_fault(path: Path, label: str) -> NotReady | None:
    if path.suffix.lower() in PICKLES:
        return NotReady(PICKLED.format(label=label))
    if other := _OTHER_FORMATS.get(path.suffix.lower()):
        return NotReady(f"The file of {label} is {other}")
    if not path.is_file():
        return MissingWeights(
            f"The file of {label} is not there. Check the model's source in the catalogue."
        )
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], data) if isinstance(data, dict) else None
