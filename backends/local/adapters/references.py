"""LoRA files and embeddings: how a person names them, and where they lie. No heavy imports.

    style                           a file of the folder for them, by its name
    somewhere/style.safetensors     a file, relative to the project or absolute
    somewhere/style                 a folder that holds one such file
    owner/name                      a Hub id
    owner/name/style.safetensors    one file of a Hub repository

A colon and a weight may follow a LoRA (`style:0.8`; 1 without), a colon and a word an embedding
(`owner/name:mascot`; its own word without). Several stand on lines of their own or behind commas.
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
# What the trainers of diffusers call the file where a folder holds others beside it.
_USUAL: Final = ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors")
_TAG: Final = re.compile(r"\s*<lora:([^:>/\\]+)(?::([^:>]*))?[^>]*>")
_HUB: Final = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/(.+\.safetensors))?")
_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A folder whose files are offered by name; `noun` is what one is called."""

    folder: Path
    noun: str
    setting: str

    def files(self) -> dict[str, Path]:
        """Every file that can be loaded, by its name without the ending."""
        return {file.stem: file for file in sorted(self.folder.glob(f"**/*{ENDING}"))}


@dataclass(frozen=True, slots=True)
class AdapterFolders:
    """The two folders."""

    loras: AdapterFolder
    embeddings: AdapterFolder


def adapter_folders(config: Config) -> AdapterFolders:
    """The folders that the settings name, else those of Lineup's data folder."""

    def shelf(noun: str, setting: str, usual: str) -> AdapterFolder:
        named = config.value(setting)
        folder = Path(named).expanduser() if named else config.home / usual
        return AdapterFolder(PROJECT / folder, noun, setting)

    return AdapterFolders(
        shelf(LORA, "LINEUP_LORAS", "loras"),
        shelf(EMBEDDING, "LINEUP_EMBEDDINGS", "embeddings"),
    )


def loras(text: str, shelf: AdapterFolder) -> tuple[Adapter, ...]:
    """Read the LoRAs that `text` names; a weight of 0 is none.

    Raises:
        BackendError: one is not there, is a pickle, or its weight is no number.
    """
    found: dict[str, Adapter] = {}
    for word in _words(text):
        source, weight = _parts(word.removeprefix("<lora:").removesuffix(">"))
        adapter = _placed(source, shelf)
        found[adapter.source] = Adapter(adapter.name, adapter.source, _weight(weight, adapter.name))
    return tuple(adapter for adapter in found.values() if adapter.weight)


def embeddings(text: str, shelf: AdapterFolder) -> tuple[Adapter, ...]:
    """Read the embeddings that `text` names.

    Raises:
        BackendError: one is not there, or is a pickle.
    """
    found: dict[str, Adapter] = {}
    for word in _words(text):
        source, token = _parts(word)
        adapter = _placed(source, shelf)
        found[adapter.source] = Adapter(adapter.name, adapter.source, token=token)
    return tuple(found.values())


def tagged(prompt: str) -> tuple[str, str]:
    """Return the prompt without its `<lora:...>` tags, and these as `loras` reads them."""
    tags = [f"{name}:{weight}" if weight else name for name, weight in _TAG.findall(prompt)]
    return (_TAG.sub("", prompt).strip(), "\n".join(tags)) if tags else (prompt, "")


def file_of(adapter: Adapter, noun: str) -> Path | None:
    """The file of `adapter`, None where the Hub must be asked first.

    Raises:
        BackendError: what lies there cannot be loaded.
    """
    path = Path(adapter.source)
    if path.is_absolute():
        if path.is_dir():
            return path / only_one((file.name for file in path.iterdir()), adapter.name, noun)
        if path.is_file():
            return path
        raise _missing(adapter.name, noun)
    hub_id, name = hub_reference(adapter.source)
    folder = snapshot(hub_id)
    names = [] if folder is None else [file.name for file in folder.iterdir()]
    if folder is None or not (name or any(each.endswith(ENDING) for each in names)):
        return None
    file = folder / (name or only_one(names, adapter.name, noun))
    return file if file.is_file() else None


def stamp(file: Path) -> str:
    """A word for the file as it is now: one that was written anew has another."""
    now = file.stat()
    words = f"{file} {now.st_mtime_ns} {now.st_size}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def state(loras: Iterable[Adapter], embeddings: Iterable[Adapter]) -> tuple[Hashable, ...]:
    """What a text encoder's answer depends on besides the prompt."""
    nouns = dict.fromkeys(loras, LORA) | dict.fromkeys(embeddings, EMBEDDING)
    files = ((adapter, file_of(adapter, noun)) for adapter, noun in nouns.items())
    return tuple((adapter, stamp(file)) for adapter, file in files if file is not None)


def hub_reference(source: str) -> tuple[str, str]:
    """The Hub id in `source`, and the file behind it, "" where none is named."""
    match = _HUB.fullmatch(source)
    assert match is not None
    return match[1], match[2] or ""


def only_one(names: Iterable[str], name: str, noun: str) -> str:
    """Which of the files of a folder or repository to read.

    Raises:
        BackendError: none, or nothing says which.
    """
    listed = sorted(each for each in names if "/" not in each)
    safe = [each for each in listed if each.endswith(ENDING)]
    usual = [each for each in safe if each in _USUAL]
    if len(usual or safe) == 1:
        return (usual or safe)[0]
    if safe:
        raise BadInput(
            f"The {noun} '{name}' could be any of {_some(safe)}. Name one: put a slash and the "
            "file's name behind it."
        )
    if any(Path(each).suffix.lower() in PICKLES for each in listed):
        raise NotReady(PICKLED.format(label=f"the {noun} '{name}'"))
    raise MissingWeights(f"The {noun} '{name}' holds no {ENDING} file. Check where it lies.")


def _words(text: str) -> Iterator[str]:
    return (word.strip() for word in re.split(r"[\n,]", text) if word.strip())


def _parts(word: str) -> tuple[str, str]:
    """What stands before the last colon and behind it; a drive's letter is no such part."""
    before, colon, behind = word.rpartition(":")
    if not colon or len(before) < 2 or re.search(r"[/\\]", behind):
        return word, ""
    return before.strip(), behind.strip()


def _placed(word: str, shelf: AdapterFolder) -> Adapter:
    path = Path(word).expanduser()
    name = path.stem if path.suffix.lower() in PICKLES | {ENDING} else path.name
    if path.suffix.lower() in PICKLES:
        raise NotReady(PICKLED.format(label=f"the {shelf.noun} '{name}'"))
    if not re.search(r"[/\\]", word):
        return Adapter(name, str(_on_shelf(name, shelf)))
    path = path if path.is_absolute() else PROJECT / path
    if path.exists():
        return Adapter(name, str(path))
    parts = word.count("/") + 1
    if _HUB.fullmatch(word) and word.endswith(ENDING) == (parts > 2):
        return Adapter(name, word)
    raise _missing(name, shelf.noun)


def _on_shelf(name: str, shelf: AdapterFolder) -> Path:
    files = shelf.files()
    for stem, file in files.items():
        if stem.lower() == name.lower():
            return file.resolve()
    if any(file.suffix.lower() in PICKLES for file in shelf.folder.glob(f"**/{name}.*")):
        raise NotReady(PICKLED.format(label=f"the {shelf.noun} '{name}'"))
    there = (
        f"There are {_some(files)}."
        if files
        else f"The folder is empty: put {ENDING} files into it, or name a file or a Hub id."
    )
    raise BadInput(
        f"There is no {shelf.noun} '{name}' in the folder for them ({shelf.setting}). {there}"
    )


def _missing(name: str, noun: str) -> BackendError:
    return MissingWeights(
        f"The file of the {noun} '{name}' is not there. Check how it is written: a name, a file, "
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


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
