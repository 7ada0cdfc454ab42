"""Tell which process a job belongs to, and whether that process still runs.

The app and the command line may share one data folder. Each process holds a lock on a file of its
own in `owners/` while it runs; the operating system releases the lock however the process ends.
So a job is orphaned if the lock of its owner can be taken, and the jobs of a running process are
never touched.
"""

import contextlib
import secrets
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout


class ProcessLock:
    """The lock of the running process; `id` names the process as the owner of its jobs."""

    def __init__(self, home: Path) -> None:
        self.id = secrets.token_hex(8)
        self._file = _file(home, self.id)
        self._lock = FileLock(self._file, thread_local=False)

    def acquire(self) -> None:
        """Take the lock, which marks the process as running."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(timeout=0)

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._lock.is_locked:
            self._lock.release()
            self._file.unlink(missing_ok=True)


@contextlib.contextmanager
def take_over(home: Path, owner_id: str) -> Generator[bool]:
    """Hold the lock of a dead process during a block, and remove its file in the end.

    Yield False if the process still runs or another one is taking over.
    """
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
