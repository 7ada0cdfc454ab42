"""The files that visitors upload: who uploaded which, and how much of them is kept.

Gradio stores every upload in one folder, and lets an event name any path. So each upload is
recorded with its visitor, and a path that comes from a page is opened only if that visitor has
uploaded it.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_FILE: Final = 50_000_000
"""The most bytes of one upload."""
MAX_VISITOR: Final = 250_000_000
"""The most bytes of one visitor's uploads; the visitor's oldest are deleted beyond it."""
MAX_TOTAL: Final = 2_000_000_000
"""The most bytes of all uploads; the oldest are deleted beyond it."""
MAX_FILES: Final = 5_000
"""The most uploads; the oldest are deleted beyond it."""


class NotUploaded(ValueError):
    """A path is no upload of this visitor, or no longer there; `str(error)` says what to do."""


_GONE = "The picture is no longer here. Choose its file again."


@dataclass(frozen=True, slots=True)
class _Upload:
    size: int
    visitors: frozenset[str]


class Uploads:
    """All uploads of this process, the oldest first. Belongs to one event loop.

    `everyone` says that all visitors are one person: any upload is theirs.
    """

    def __init__(self, *, everyone: bool = False) -> None:
        self._everyone = everyone
        self._files: OrderedDict[Path, _Upload] = OrderedDict()

    def record(self, visitor: str, paths: Iterable[str]) -> None:
        """Note that `visitor` has uploaded these files, and delete the oldest beyond the limit."""
        for path in map(Path, paths):
            with suppress(OSError):
                before = self._files.pop(path, None)
                visitors = (before.visitors if before else frozenset[str]()) | {visitor}
                self._files[path] = _Upload(path.stat().st_size, visitors)
        while self._size(visitor) > MAX_VISITOR:
            self._delete(
                next(path for path, each in self._files.items() if visitor in each.visitors)
            )
        while self._size() > MAX_TOTAL or len(self._files) > MAX_FILES:
            self._delete(next(iter(self._files)))

    def claim(self, visitor: str, path: object) -> Path:
        """Return the file of an upload, given its path as the page of `visitor` names it.

        Raises:
            NotUploaded: this visitor has uploaded no such file.
        """
        if not isinstance(path, str):
            raise NotUploaded(_GONE)
        file = Path(path)
        upload = self._files.get(file)
        known = upload is not None and (self._everyone or visitor in upload.visitors)
        if not known or (not visitor and not self._everyone):
            raise NotUploaded(_GONE)
        return file

    def _size(self, visitor: str | None = None) -> int:
        files = self._files.values()
        return sum(each.size for each in files if visitor is None or visitor in each.visitors)

    def _delete(self, path: Path) -> None:
        del self._files[path]
        with suppress(OSError):
            path.unlink()


def read(file: Path, most: int = MAX_FILE) -> bytes:
    """Return the bytes of a regular file; blocks.

    Raises:
        NotUploaded: it is gone, is no regular file (a link, a device), or is larger than `most`.
    """
    try:
        # Opened first and looked at then, so that nothing else can take its place in between.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        number = os.open(file, flags)
    except (OSError, ValueError) as error:
        raise NotUploaded(_GONE) from error
    try:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode):
            raise NotUploaded(_GONE)
        if facts.st_size > most:
            raise NotUploaded(f"The picture's file is larger than {most // 1_000_000} MB.")
        with os.fdopen(number, "rb", closefd=False) as opened:
            return opened.read(most)
    finally:
        os.close(number)
