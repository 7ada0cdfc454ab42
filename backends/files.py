"""Write files so that no reader and no crash ever meets a part of one."""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""The end of the name of a file that is still being written."""
ABANDONED_SECONDS: Final = 3600.0
"""The age at which such a file is taken for one that a crash has left."""


def write_atomically(file: Path, data: bytes) -> None:
    """Write `file`, synced to the disk; under its name there is never a part of the data.

    Each writer has a temporary file of its own, so that several can write the same file at once:
    the last one wins. Missing folders are created.
    """
    part = file.with_name(f"{file.name}.{secrets.token_hex(6)}{PART}")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        move(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def move(source: Path, target: Path) -> None:
    """Rename a file, over another one if need be, and sync the folder to the disk.

    Without that, a power cut may undo the renaming although the file's own data were synced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    if os.name == "posix":  # Windows cannot open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that a crash has left in `folder`."""
    before = time.time() - ABANDONED_SECONDS
    for part in folder.glob(f"*{PART}"):
        with suppress(OSError):  # another process has finished or removed it meanwhile
            if part.stat().st_mtime < before:
                part.unlink()


def remove_oldest(folder: Path, most: int) -> None:
    """Remove the files of `folder` that were written longest ago, until it has `most` bytes."""
    files: list[tuple[float, int, Path]] = []
    for file in folder.iterdir():
        with suppress(OSError):
            facts = file.stat()
            files.append((facts.st_mtime, facts.st_size, file))
    size = sum(each[1] for each in files)
    for _, bytes_, file in sorted(files):
        if size <= most:
            return
        file.unlink(missing_ok=True)
        size -= bytes_
