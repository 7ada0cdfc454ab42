"""Parse references to LoRAs and embeddings and locate their files, without heavy imports.

    style                           a file of the folder for them, by its name
    somewhere/style.safetensors     a file, relative to the project or absolute
    somewhere/style                 a folder that holds one such file
    owner/name                      a Hub id
    owner/name/style.safetensors    one file of a Hub repository

A colon and a weight may follow a LoRA (`style:0.8`; the default is 1), a colon and a token an
embedding (`owner/name:mascot`; the default is in the file). Commas or line breaks separate several.
A prompt may name LoRAs in the notation of the Stable Diffusion web UI, `<lora:style:0.8>`: only
those of the folder.

Weights are read from safetensors only: a pickle can run code when it is opened.
"""

import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backends.base import Config
from backends.errors import BackendError, BadInput, MissingWeights, NotReady
from backends.local.errors import PICKLED
from backends.local.job import Adapter
from backends.local.weights.sources import PICKLES, snapshot
from backends.paths import PROJECT

LORA: Final = "LoRA"
EMBEDDING: Final = "embedding"
ENDING: Final = ".safetensors"
# The file names that the training scripts of diffusers use, among other files of a folder.
_DEFAULT_NAMES: Final = ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors")
_TAG: Final = re.compile(r"\s*<lora:([^:>/\\]+)(?::([^:>]*))?[^>]*>")
_HUB: Final = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/(.+\.safetensors))?")
_MAX_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A folder whose files can be named without a path; `kind` is the noun for one."""

    path: Path
    kind: str
    setting: str

    def files(self) -> dict[str, Path]:
        """Return every file that can be loaded, by its name without the extension."""
        return {file.stem: file for file in sorted(self.path.glob(f"**/*{ENDING}"))}


@dataclass(frozen=True, slots=True)
class AdapterFolders:
    """The folders of LoRAs and of embeddings."""

    loras: AdapterFolder
    embeddings: AdapterFolder


def adapter_folders(config: Config) -> AdapterFolders:
    """Return the folders that the settings name, or else those of Lineup's data folder."""

    def named_folder(kind: str, setting: str, usual: str) -> AdapterFolder:
        named = config.value(setting)
        folder = Path(named).expanduser() if named else config.home / usual
        return AdapterFolder(PROJECT / folder, kind, setting)

    return AdapterFolders(
        named_folder(LORA, "LINEUP_LORAS", "loras"),
        named_folder(EMBEDDING, "LINEUP_EMBEDDINGS", "embeddings"),
    )


def parse_loras(text: str, folder: AdapterFolder) -> tuple[Adapter, ...]:
    """Parse the LoRAs in `text`; those with weight 0 are dropped.

    Raises:
        BackendError: a file is missing or a pickle, or a weight is not a number.
    """
    adapters: dict[str, Adapter] = {}
    for word in _split(text):
        source, weight = _split_suffix(word.removeprefix("<lora:").removesuffix(">"))
        adapter = _resolve(source, folder)
        adapters[adapter.source] = Adapter(
            adapter.name, adapter.source, _weight(weight, adapter.name)
        )
    return tuple(adapter for adapter in adapters.values() if adapter.weight)


def parse_embeddings(text: str, folder: AdapterFolder) -> tuple[Adapter, ...]:
    """Parse the embeddings in `text`.

    Raises:
        BackendError: a file is missing or a pickle.
    """
    adapters: dict[str, Adapter] = {}
    for word in _split(text):
        source, token = _split_suffix(word)
        adapter = _resolve(source, folder)
        adapters[adapter.source] = Adapter(adapter.name, adapter.source, token=token)
    return tuple(adapters.values())


def extract_lora_tags(prompt: str) -> tuple[str, str]:
    """Return the prompt without its `<lora:...>` tags, and these in the form for `parse_loras`."""
    tags = [f"{name}:{weight}" if weight else name for name, weight in _TAG.findall(prompt)]
    return (_TAG.sub("", prompt).strip(), "\n".join(tags)) if tags else (prompt, "")


def file_of(adapter: Adapter, kind: str) -> Path | None:
    """Return the file of `adapter`, None if it must be downloaded first.

    Raises:
        BackendError: the file or folder cannot be loaded.
    """
    path = Path(adapter.source)
    if path.is_absolute():
        if path.is_dir():
            return path / select_single_file(
                (file.name for file in path.iterdir()), adapter.name, kind
            )
        if path.is_file():
            return path
        raise _missing(adapter.name, kind)
    hub_id, name = hub_reference(adapter.source)
    folder = snapshot(hub_id)
    names = [] if folder is None else [file.name for file in folder.iterdir()]
    if folder is None or not (name or any(each.endswith(ENDING) for each in names)):
        return None
    file = folder / (name or select_single_file(names, adapter.name, kind))
    return file if file.is_file() else None


def file_version(file: Path) -> str:
    """Return a hash of the file's path, time and size, which changes when it is rewritten."""
    now = file.stat()
    words = f"{file} {now.st_mtime_ns} {now.st_size}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def adapter_state(loras: Iterable[Adapter], embeddings: Iterable[Adapter]) -> tuple[Hashable, ...]:
    """Return the adapters and file versions on which prompt embeddings depend."""
    kinds = dict.fromkeys(loras, LORA) | dict.fromkeys(embeddings, EMBEDDING)
    files = ((adapter, file_of(adapter, kind)) for adapter, kind in kinds.items())
    return tuple((adapter, file_version(file)) for adapter, file in files if file is not None)


def hub_reference(source: str) -> tuple[str, str]:
    """Return the Hub id in `source` and the file after it, "" if none is named."""
    match = _HUB.fullmatch(source)
    assert match is not None
    return match[1], match[2] or ""


def select_single_file(names: Iterable[str], name: str, kind: str) -> str:
    """Return the only loadable file of a folder or repository, or that with a default name.

    Raises:
        BackendError: there is none, or several without a default name.
    """
    listed = sorted(each for each in names if "/" not in each)
    safe = [each for each in listed if each.endswith(ENDING)]
    usual = [each for each in safe if each in _DEFAULT_NAMES]
    if len(usual or safe) == 1:
        return (usual or safe)[0]
    if safe:
        raise BadInput(
            f"The {kind} '{name}' could be any of {_abbreviated(safe)}. Name one: put a slash and "
            "the file's name behind it."
        )
    if any(Path(each).suffix.lower() in PICKLES for each in listed):
        raise NotReady(PICKLED.format(label=f"the {kind} '{name}'"))
    raise MissingWeights(f"The {kind} '{name}' holds no {ENDING} file. Check where it lies.")


def _split(text: str) -> Iterator[str]:
    return (word.strip() for word in re.split(r"[\n,]", text) if word.strip())


def _split_suffix(word: str) -> tuple[str, str]:
    """Split at the last colon; the colon of a drive letter does not count."""
    before, colon, behind = word.rpartition(":")
    if not colon or len(before) < 2 or re.search(r"[/\\]", behind):
        return word, ""
    return before.strip(), behind.strip()


def _resolve(word: str, folder: AdapterFolder) -> Adapter:
    path = Path(word).expanduser()
    name = path.stem if path.suffix.lower() in PICKLES | {ENDING} else path.name
    if path.suffix.lower() in PICKLES:
        raise NotReady(PICKLED.format(label=f"the {folder.kind} '{name}'"))
    if not re.search(r"[/\\]", word):
        return Adapter(name, str(_find_in_folder(name, folder)))
    path = path if path.is_absolute() else PROJECT / path
    if path.exists():
        return Adapter(name, str(path))
    parts = word.count("/") + 1
    if _HUB.fullmatch(word) and word.endswith(ENDING) == (parts > 2):
        return Adapter(name, word)
    raise _missing(name, folder.kind)


def _find_in_folder(name: str, folder: AdapterFolder) -> Path:
    files = folder.files()
    for stem, file in files.items():
        if stem.lower() == name.lower():
            return file.resolve()
    if any(file.suffix.lower() in PICKLES for file in folder.path.glob(f"**/{name}.*")):
        raise NotReady(PICKLED.format(label=f"the {folder.kind} '{name}'"))
    there = (
        f"There are {_abbreviated(files)}."
        if files
        else f"The folder is empty: put {ENDING} files into it, or name a file or a Hub id."
    )
    raise BadInput(
        f"There is no {folder.kind} '{name}' in the folder for them ({folder.setting}). {there}"
    )


def _missing(name: str, kind: str) -> BackendError:
    return MissingWeights(
        f"The file of the {kind} '{name}' is not there. Check how it is written: a name, a file, "
        "a folder or a Hub id."
    )


def _weight(word: str, name: str) -> float:
    try:
        weight = float(word or 1.0)
    except ValueError:
        weight = float("nan")
    if not -10 <= weight <= 10:
        raise BadInput(
            f"The weight of the LoRA '{name}' must be a number from -10 to 10, such as 0.8; "
            f"not {word}."
        )
    return weight


def _abbreviated(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
    return ", ".join(listed[:_MAX_SHOWN]) + more
