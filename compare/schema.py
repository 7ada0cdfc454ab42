"""Open the database at the present revision, or say why not.

Alembic takes half a second to import, so it is only asked when the revision is not the newest.
A database whose revision is not known here comes from a newer Lineup and is left alone.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import StaticPool

from compare.faults import newer_database

REVISIONS = ("0001",)
FILE = "lineup.db"


def open_engine(home: Path) -> Engine:
    """Return the engine of the database in `home`, made or migrated as needed.

    Raises:
        NewerDatabase: a later version of Lineup wrote it.
    """
    engine = create_engine(
        f"sqlite:///{home / FILE}",
        # One connection, used by one thread at a time (see compare/writer.py).
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 30},
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
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        raw.execute(f"PRAGMA {pragma}")


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
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    command.upgrade(config, "head")
    connection.commit()
