"""Write files atomically: under a file's name there is never a part of it, whoever else writes.

Each writer has a temporary file of its own in the target's folder, named after the target with a
random part, and renames it over the target when it is complete. So several threads and processes
may write the same file at once, and a process that is killed leaves at most a temporary file
behind, which `leftovers` finds.
"""

import os
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_TEMPORARY: Final = ".part"


@contextmanager
def writer(path: Path) -> Generator[BinaryIO]:
    """Open `path` for writing; at the block's end the new content is on the disk under this name.

    If the block raises, nothing has changed. The folder is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes) -> None:
    """Write a file; `writer` explains how."""
    with writer(path) as stream:
        stream.write(data)


def move(source: Path, target: Path) -> None:
    """Rename a file, replacing another one; its new name is on the disk when this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and renaming is journalled
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_temporary(path: Path) -> bool:
    """Return whether this is the temporary file of a writer, alive or dead."""
    return path.suffix == _TEMPORARY


def leftovers(folders: Iterable[Path]) -> list[Path]:
    """Return the temporary files in these folders, of living writers as well."""
    return [
        file
        for folder in folders
        if folder.is_dir()
        for file in folder.iterdir()
        if is_temporary(file)
    ]
