"""Wildcards: text files with one choice on each line, ours and the user's own.

A file `animal.txt` is `__animal__` in a prompt, `sea/fish.txt` in a folder is `__sea/fish__`.
The user's folder goes first: a file of the same name there takes the place of ours.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.paths import ASSETS
from compare.prompts.template import BadVariants

OURS = ASSETS / "wildcards"
MOST_BYTES = 1_000_000


class Folder(Mapping[str, tuple[str, ...]]):
    """The wildcards there are at this moment, by name; a file is read when it is asked for."""

    def __init__(self, home: Path) -> None:
        self._files: dict[str, Path] = {}
        for root in (OURS, home / "wildcards"):
            for file in sorted(root.rglob("*.txt")):
                self._files[file.relative_to(root).with_suffix("").as_posix()] = file

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """Return a wildcard's choices: lines that are not blank and no comment.

        Raises:
            KeyError: there is none of this name.
            BadVariants: its file cannot be read.
        """
        file = self._files[name]
        try:
            if file.stat().st_size > MOST_BYTES:
                raise BadVariants(f"The wildcard file {name}.txt has more than 1 MB. Shorten it.")
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            raise BadVariants(
                f"The wildcard file {name}.txt cannot be read. Save it as UTF-8 text."
            ) from None
        stripped = (line.strip() for line in lines)
        return tuple(line for line in stripped if line and not line.startswith("#"))

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._files)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._files)
