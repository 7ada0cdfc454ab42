"""Open the database at the present revision, or say why not.

Alembic takes half a second to import, so it is only asked when the revision is not the newest.
A database whose revision is not known here comes from a newer Lineup and is left alone.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import StaticPool

from backends.paths import PROJECT
from compare.store.errors import newer_database

REVISIONS = ("0001", "0002", "0003", "0004")
MIGRATIONS = PROJECT / "compare" / "store" / "migrations"
FILE = "lineup.db"
WAIT = 30.0
"""How long, in seconds, another process's hold on the database is waited out."""


def open_engine(home: Path) -> Engine:
    """Return the engine of the database in `home`, made or migrated as needed.

    Raises:
        NewerDatabase: a later version of Lineup wrote it.
    """
    engine = create_engine(
        f"sqlite:///{home / FILE}",
        # One connection, used by one thread at a time (see compare/store/writer.py).
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": WAIT},
    )
    event.listen(engine, "connect", _prepare)
    try:
        with engine.connect() as connection:
            revision = _revision(connection)
            if revision is not None and revision not in REVISIONS:
                raise newer_database(home)
            if revision != REVISIONS[-1]:
                connection.rollback()
                _migrate(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(raw: Any, _: object) -> None:
    """Set up a fresh connection.

    Write-ahead logging lets the app and the command line read while one of them writes. FULL
    makes every commit reach the disk: what is committed here is money and finished pictures,
    and live progress is never written at all.
    """
    _keep_a_log_ahead(raw)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        raw.execute(f"PRAGMA {pragma}")


def _keep_a_log_ahead(raw: Any) -> None:
    """Turn write-ahead logging on, however many processes turn it on at once.

    SQLite does not wait here: two connections that both read and both want to write the file's
    header would wait for each other, so one is told "busy" at once, whatever its timeout
    (https://sqlite.org/c3ref/busy_handler.html). It asks again; the other is done in milliseconds.
    """
    patience = time.monotonic() + WAIT
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > patience:
                raise
            time.sleep(0.01)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date, all of it or nothing.

    The lock is taken first: another process may have migrated while this one waited for it.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if _revision(connection) == REVISIONS[-1]:
        return
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")
    connection.commit()
