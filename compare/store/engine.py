"""Open the database at the newest revision and run transactions on it.

Whatever differs between databases (connection, locks, error codes) is in a module of its own:
`compare/store/sqlite.py`. Alembic takes half a second to import, so it is imported only if the
revision is not the newest. A database whose revision is not in `REVISIONS` was written by a newer
version of Lineup and is left alone.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from backends.paths import PROJECT
from compare.store import sqlite
from compare.store.errors import StoreError, from_os, newer_database, replaced

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
MIGRATIONS = PROJECT / "compare" / "store" / "migrations"


class Database:
    """The open database of one data folder."""

    def __init__(self, home: Path) -> None:
        """Open the database in `home`; create or migrate it as needed.

        Raises:
            NewerDatabase: a later version of Lineup wrote it.
            StoreError: it cannot be opened; the sentence says why.
        """
        self._home = home
        self._engine: Engine = sqlite.create(home)
        try:
            with self._explained(), self._engine.connect() as connection:
                self._update(connection)
                connection.rollback()
                self._file = sqlite.OpenFile(connection, home)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """Run a block in a transaction: commit at its end, roll back if it raises.

        Raises:
            Replaced: the database is no longer the file that was opened; nothing is kept.
            StoreError: instead of any error of the driver.
        """
        try:
            with self._explained(), self._engine.begin() as connection:
                if not self._file.is_same(connection):
                    raise replaced(self._home)
                yield connection
        except StoreError as error:
            # An emptied file is an I/O error to SQLite; a sentence about the disk would mislead.
            if not self._file.is_there():
                raise replaced(self._home) from error
            raise
        # What was committed is kept only if the file is still the one that will be opened.
        if not self._file.is_there():
            raise replaced(self._home)

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except DBAPIError as error:
            raise sqlite.explain(error.orig, self._home) from error
        except OSError as error:
            raise from_os(error, self._home) from error

    def _update(self, connection: Connection) -> None:
        revision = _revision(connection)
        if revision is not None and revision not in REVISIONS:
            raise newer_database(self._home)
        if revision != REVISIONS[-1]:
            connection.rollback()
            _migrate(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    """Bring the tables to the newest revision in one transaction.

    The lock comes first: another process may have migrated while this one waited for it.
    """
    sqlite.begin_migration(connection)
    if _revision(connection) == REVISIONS[-1]:
        return
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")
    connection.commit()
