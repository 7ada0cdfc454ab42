"""What is particular to SQLite: its connection, its functions, its locks and its errors."""

import secrets
import sqlite3
import time
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact
from pathlib import Path
from typing import Any

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


class OpenFile:
    """The database file that was opened, to be told from another one under the same name.

    On Unix a file that is deleted or replaced stays open: SQLite would write to it without any
    error, and everything would be gone with the process. The file, its write-ahead log and the
    log's index are known by their inodes, and what is in them by SQLite's `application_id`, a
    random number here. Lineup never makes the file smaller, so a smaller one was written over it.
    A copy of this very database, as large as it or larger, that is written over it in place is not
    noticed. Nothing here opens the file: closing it again would release SQLite's locks on it.
    """

    def __init__(self, connection: Connection, home: Path) -> None:
        self._paths = home / FILE, home / f"{FILE}-wal", home / f"{FILE}-shm"
        self._number = _own_number(connection)
        self._files = [_inode(path) for path in self._paths]
        self._size = 0

    def is_there(self) -> bool:
        """Return whether the names still lead to the files that are open."""
        now = [_inode(path) for path in self._paths]
        # The log and its index are created by the first query.
        self._files = [old or new for old, new in zip(self._files, now, strict=True)]
        return now == self._files and not self._has_shrunk()

    def _has_shrunk(self) -> bool:
        try:
            size = self._paths[0].stat().st_size
        except OSError:
            return True
        known, self._size = self._size, max(self._size, size)
        return size < known

    def is_same(self, connection: Connection) -> bool:
        """Return whether the content is still that of this database."""
        return self.is_there() and _number(connection) == self._number


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _number(connection: Connection) -> int:
    return connection.exec_driver_sql("PRAGMA application_id").scalar_one()


def _own_number(connection: Connection) -> int:
    """Return the database's number; a database without one gets a random one."""
    if number := _number(connection):
        return number
    begin_migration(connection)
    # Another process may have set it while this one waited for the lock.
    if not _number(connection):
        connection.exec_driver_sql(f"PRAGMA application_id = {secrets.randbelow(2**31 - 1) + 1}")
    connection.commit()
    return _number(connection)


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
