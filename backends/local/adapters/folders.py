"""The folders of LoRAs and embeddings, and how a name is looked up in one.

A file is named by its path in the folder, without the extension, or by an end of that path that no
other file has: `char/style`, or just `style`. Case, and the direction of slashes, do not matter
where that leaves one file only.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from backends.base import Config
from backends.errors import BackendError, BadInput, NotReady
from backends.local.errors import PICKLED
from backends.local.weights.sources import PICKLES
from backends.paths import PROJECT
from backends.wording import nearest

LORA: Final = "LoRA"
EMBEDDING: Final = "embedding"
ENDING: Final = ".safetensors"
_MAX_SHOWN: Final = 12


@dataclass(frozen=True)
class AdapterFolder:
    """A folder whose files can be named without a path; `kind` is the noun for one.

    The files are listed once: make a new object for each request.
    """

    path: Path
    kind: str
    setting: str

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file that can be loaded, by its path in the folder without the extension."""
        files = sorted(self.path.glob(f"**/*{ENDING}"))
        return {_key(file.relative_to(self.path).as_posix()): file for file in files}

    @cached_property
    def names(self) -> dict[str, str]:
        """The shortest name of each file: without its sub-folder where no other is called so."""
        stems = {key: key.rpartition("/")[2] for key in self.files}
        counts = Counter(stem.casefold() for stem in stems.values())
        return {key: stem if counts[stem.casefold()] == 1 else key for key, stem in stems.items()}

    def find(self, word: str) -> tuple[str, Path] | None:
        """Return the name and the file that `word` names, None if there is none.

        Raises:
            BadInput: there are several.
        """
        keys = _matches(word, self.files)
        if len(keys) > 1:
            names = [self.names[key] for key in keys]
            raise BadInput(
                f"The {self.kind} '{word}' could be any of {abbreviated(names)}. Name one with "
                "its folder."
            )
        return (self.names[keys[0]], self.files[keys[0]].resolve()) if keys else None

    def not_found(self, word: str) -> BackendError:
        """Return the error for a name that no file has."""
        pickles = [file for file in self.path.glob("**/*") if file.suffix.lower() in PICKLES]
        relative = (file.relative_to(self.path).with_suffix("").as_posix() for file in pickles)
        if _matches(word, relative):
            return NotReady(PICKLED.format(label=f"the {self.kind} '{word}'"))
        names = list(self.names.values())
        there = (
            f"The folder is empty: put {ENDING} files into it, or name a file or a Hub id."
            if not names
            else f"There are {abbreviated(names)}."
            if len(names) <= _MAX_SHOWN
            else nearest(word, names)
        )
        return BadInput(
            f"There is no {self.kind} '{word}' in the folder for them ({self.setting}). {there}"
        )


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


def abbreviated(names: Iterable[str]) -> str:
    """Return the names with commas between, the first dozen of many."""
    listed = list(names)
    more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
    return ", ".join(listed[:_MAX_SHOWN]) + more


def _key(word: str) -> str:
    """Return a path as the files are listed: with slashes, composed letters and no extension."""
    parts = unicodedata.normalize("NFC", word).replace("\\", "/").split("/")
    key = "/".join(part for part in parts if part not in ("", "."))
    return key[: -len(ENDING)] if key.lower().endswith(ENDING) else key


def _matches(word: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that `word` means: whole ones before ends, the same case before another."""
    wanted, listed = _key(word), list(keys)
    folds: tuple[Callable[[str], str], ...] = (str, str.casefold)
    for before in ("", "/"):
        for fold in folds:
            end = before + fold(wanted)
            found = [key for key in listed if (before + fold(key)).endswith(end)]
            found = found if before else [key for key in found if fold(key) == end]
            if wanted and found:
                return found
    return []
