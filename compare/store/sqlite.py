"""What is particular to SQLite: its connection, its functions, its locks and its errors."""

import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from compare.store.errors import Damaged, StoreError, disk_full, read_only

FILE = "lineup.db"
LOCK_TIMEOUT = 30.0
"""Seconds to wait while another process holds a lock on the database."""


def create(home: Path) -> Engine:
    """Return the engine of the database file in `home`, which is created on the first use."""
    engine = create_engine(
        f"sqlite:///{home / FILE}",
        # One connection, used by one thread at a time (see compare/store/writer.py).
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": LOCK_TIMEOUT},
    )
    event.listen(engine, "connect", _configure)
    return engine


def begin_migration(connection: Connection) -> None:
    """Begin a transaction that holds the write lock, so that one process migrates at a time."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def explain(error: BaseException | None, home: Path) -> StoreError:
    """Return the error to raise for an error of the driver."""
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


@dataclass(slots=True)
class OpenFiles:
    """The files of the open database, to notice when others are at their place.

    SQLite goes on with files that were deleted: it reads and commits without an error, and all of
    it is gone with the process. Deleted or replaced is the database, its write-ahead log (which
    holds what was committed last) or its index. The database file never shrinks by itself
    (Lineup neither vacuums nor empties it), so a smaller one was copied over it.

    Not noticed is another database of the same size or larger that was copied over the file in
    place. The files are never opened here: closing one would release SQLite's locks on it.
    """

    _ids: Mapping[Path, tuple[int, int]]
    _size: int

    @classmethod
    def of(cls, home: Path) -> Self:
        """Return the files that are open now; call it after the first query, which opens them."""
        found: dict[Path, tuple[int, int]] = {}
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            # Without shared memory, on some network file systems, there is no log.
            if (status := _status(home / name)) is not None:
                found[home / name] = (status.st_dev, status.st_ino)
        return cls(found, 0)

    def are_there(self) -> bool:
        """Return whether all of them are still at their place."""
        for path, known in self._ids.items():
            status = _status(path)
            if status is None or (status.st_dev, status.st_ino) != known:
                return False
            if path.name == FILE:
                if status.st_size < self._size:
                    return False
                self._size = status.st_size
        return True


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


class DecimalSum:
    """The aggregate `decimal_sum`: the exact sum of decimal texts, NULL if there is none."""

    _exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])

    def __init__(self) -> None:
        self._total: Decimal | None = None

    def step(self, amount: str | None) -> None:
        """Add one value."""
        if amount is not None:
            total = Decimal(0) if self._total is None else self._total
            self._total = self._exact.add(total, Decimal(amount))

    def finalize(self) -> str | None:
        """Return the sum in plain notation."""
        return None if self._total is None else f"{self._total:f}"


def _configure(connection: Any, _: object) -> None:
    """Set up a new connection of the driver.

    Write-ahead logging lets the app and the command line read while one of them writes. FULL
    makes every commit reach the disk: what is committed here is money and finished pictures,
    and live progress is never written at all.
    """
    _enable_wal(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_aggregate("decimal_sum", 1, DecimalSum)


def _enable_wal(connection: Any) -> None:
    """Turn write-ahead logging on, even if several processes do so at the same time.

    SQLite's own timeout does not apply here: two connections that both read and both want to
    write the file's header would wait for each other, so one gets SQLITE_BUSY at once, whatever
    its timeout (https://sqlite.org/c3ref/busy_handler.html). Repeat until the other is done,
    which takes milliseconds.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
