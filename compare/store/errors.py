"""The errors of the store.

    StoreError
    ├── ReadOnly        the data folder cannot be written
    ├── DiskFull        the disk has no room left
    ├── NewerDatabase   a later version of Lineup wrote the database
    ├── Replaced        the database was deleted or replaced while it was open
    └── Damaged         the file is not a database, or a broken one

Every message is a sentence for users: what happened, then what to do.
"""

import errno
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used; `str(error)` is the sentence to show."""


class ReadOnly(StoreError):
    """The data folder cannot be written."""


class DiskFull(StoreError):
    """The disk has no room left."""


class NewerDatabase(StoreError):
    """A later version of Lineup wrote the database."""


class Damaged(StoreError):
    """The database file is not a database, or a broken one."""


class Replaced(StoreError):
    """The database was deleted or replaced while it was open: what is written is not kept."""


def replaced(home: Path) -> Replaced:
    """Return the error for a database that is no longer the file that was opened."""
    return Replaced(
        f"The database in {home} was deleted, moved or replaced while Lineup runs, so nothing is "
        "kept any more. Put it back or leave it as it is, then start Lineup again."
    )


def read_only(home: Path) -> ReadOnly:
    """Return the error for a data folder that cannot be written."""
    return ReadOnly(
        f"Lineup cannot write to its data folder {home}. Make it writable, "
        "or name another folder in LINEUP_HOME."
    )


def disk_full(home: Path) -> DiskFull:
    """Return the error for a full disk."""
    return DiskFull(f"The disk that holds {home} is full. Free some space, then try again.")


def newer_database(home: Path) -> NewerDatabase:
    """Return the error for a database whose revision is not known here."""
    return NewerDatabase(
        f"The database in {home} was written by a newer version of Lineup. Update Lineup, "
        "or name another folder in LINEUP_HOME. Nothing was changed."
    )


def from_os(error: OSError, home: Path) -> StoreError:
    """Return the error to raise for an error of the file system."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return disk_full(home)
        case errno.EROFS | errno.EACCES | errno.EPERM | errno.ENOTDIR | errno.EEXIST:
            return read_only(home)
        case _:
            reason = error.strerror or type(error).__name__
            return StoreError(f"Lineup cannot use its data folder {home}: {reason}.")
