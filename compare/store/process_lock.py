"""Which process a job belongs to, and whether that process still lives.

The app and the command line may share one data folder. Each process holds a lock on a file of its
own in `owners/` for as long as it lives; the system lets go of it however the process ends. So a
job whose owner's lock can be taken is an orphan, and nobody touches the jobs of a living process.
"""

import contextlib
import secrets
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout


class ProcessLock:
    """The running process, as the owner of jobs."""

    def __init__(self, home: Path) -> None:
        self.id = secrets.token_hex(8)
        self._file = _file(home, self.id)
        self._lock = FileLock(self._file, thread_local=False)

    def begin(self) -> None:
        """Take the lock that says "alive"."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(timeout=0)

    def end(self) -> None:
        """Let go of it and leave nothing behind."""
        if self._lock.is_locked:
            self._lock.release()
            self._file.unlink(missing_ok=True)


@contextlib.contextmanager
def take_over(home: Path, owner_id: str) -> Generator[bool]:
    """Take the place of a dead owner; False when it lives, or somebody else is at it."""
    file = _file(home, owner_id)
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
        file.unlink(missing_ok=True)


def _file(home: Path, owner_id: str) -> Path:
    return home / "owners" / f"{owner_id}.lock"
