"""What can go wrong with the place where Lineup keeps things.

    StoreError
    ├── ReadOnly        the data folder cannot be written
    ├── DiskFull        no room left
    ├── NewerDatabase   written by a later version of Lineup
    └── Damaged         not a database, or one that is broken

Every message is a sentence for a person: what happened, then what to do.
"""

import errno
import sqlite3
from pathlib import Path


class StoreError(Exception):
    """The store cannot do what was asked; `str(error)` is the sentence to show."""


class ReadOnly(StoreError):
    """The data folder cannot be written."""


class DiskFull(StoreError):
    """There is no room left."""


class NewerDatabase(StoreError):
    """The database was written by a later version of Lineup."""


class Damaged(StoreError):
    """The database file is not one, or is broken."""


def read_only(home: Path) -> ReadOnly:
    """Return the error for a data folder that cannot be written."""
    return ReadOnly(
        f"Lineup cannot write to its data folder {home}. Make it writable, "
        "or name another folder in LINEUP_HOME."
    )


def disk_full(home: Path) -> DiskFull:
    """Return the error for a disk without room."""
    return DiskFull(f"The disk that holds {home} is full. Free some space, then try again.")


def newer_database(home: Path) -> NewerDatabase:
    """Return the error for a database from the future."""
    return NewerDatabase(
        f"The database in {home} was written by a newer version of Lineup. Update Lineup, "
        "or name another folder in LINEUP_HOME. Nothing was changed."
    )


def from_os(error: OSError, home: Path) -> StoreError:
    """Put an error of the file system into a sentence."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return disk_full(home)
        case errno.EROFS | errno.EACCES | errno.EPERM | errno.ENOTDIR | errno.EEXIST:
            return read_only(home)
        case _:
            reason = error.strerror or type(error).__name__
            return StoreError(f"Lineup cannot use its data folder {home}: {reason}.")


def from_sqlite(error: BaseException | None, home: Path) -> StoreError:
    """Put an error of the database into a sentence."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            # SQLite reports a write past a quota or a file-size limit as an I/O error.
            return disk_full(home)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return read_only(home)
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return Damaged(
                f"The file lineup.db in {home} is damaged or not a database. Move it away "
                "and Lineup starts a new one; the pictures beside it stay."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"Another program holds the database in {home}. Close it, then try again."
            )
        case _:
            return StoreError(f"The database in {home} could not be used: {error}.")
