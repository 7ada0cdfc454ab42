"""Wildcards: text files with one choice on each line, shipped and the user's own.

A file `animal.txt` is `__animal__` in a prompt, `sea/fish.txt` in a folder is `__sea/fish__`.
A file in the user's folder replaces a shipped one of the same name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.paths import ASSETS
from compare.prompts.template import BadVariants

SHIPPED = ASSETS / "wildcards"
MAX_BYTES = 1_000_000


class Folder(Mapping[str, tuple[str, ...]]):
    """The wildcards by name, listed at creation; a file is read at each access."""

    def __init__(self, home: Path) -> None:
        self._files: dict[str, Path] = {}
        for root in (SHIPPED, home / "wildcards"):
            for file in sorted(root.rglob("*.txt")):
                self._files[file.relative_to(root).with_suffix("").as_posix()] = file

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """Return a wildcard's choices: its lines without blank ones and comments.

        Raises:
            KeyError: there is no wildcard of this name.
            BadVariants: its file cannot be read.
        """
        file = self._files[name]
        try:
            if file.stat().st_size > MAX_BYTES:
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
        """Return the number of wildcards."""
        return len(self._files)
