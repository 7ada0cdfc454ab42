"""Opening a store: its tables, other versions, other processes, and homes that can't be."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from compare.store.errors import Damaged, NewerDatabase, ReadOnly, StoreError
from compare.store.store import Store
from tests.compare.store.stored import elsewhere, new_run


async def test_migrations_make_exactly_the_tables(home: Path, store: Store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine

    from compare.store import migrations
    from compare.store.engine import REVISIONS
    from compare.store.tables import metadata

    engine = create_engine(f"sqlite:///{home / 'lineup.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert migrations.__file__ is not None
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


async def test_a_current_database_opens_without_alembic(home: Path, store: Store):
    await store.close()
    code = """
        import asyncio, sys
        from pathlib import Path
        from compare.store.store import Store
        assert not {"sqlalchemy", "alembic"} & set(sys.modules)
        store = Store(Path(sys.argv[1]))
        asyncio.run(store.open())
        assert "sqlalchemy" in sys.modules and "alembic" not in sys.modules
    """
    await asyncio.to_thread(elsewhere, code, home)


async def test_two_processes_may_open_a_blank_home_at_once(home: Path):
    stores = [Store(home) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await store.add_run(new_run(f"r{number}"))
    assert len(await stores[0].recent(10)) == 4
    for store in stores:
        await store.close()


async def opening(home: Path) -> StoreError:
    store = Store(home)
    with pytest.raises(StoreError) as caught:
        await store.open()
    # What could not be opened says so again, and never half-works.
    with pytest.raises(StoreError):
        await store.add_run(new_run())
    await store.close()
    return caught.value


async def test_a_newer_database_is_left_alone(home: Path, store: Store):
    await store.add_run(new_run())
    await store.close()
    with sqlite3.connect(home / "lineup.db") as other:
        other.execute("update alembic_version set version_num = '9999'")
    other.close()
    before = (home / "lineup.db").read_bytes()
    fault = await opening(home)
    assert isinstance(fault, NewerDatabase) and "newer version of Lineup" in str(fault)
    assert (home / "lineup.db").read_bytes() == before


def test_a_file_that_is_no_database(home: Path):
    home.mkdir()
    (home / "lineup.db").write_bytes(b"This is a letter to my aunt." * 100)
    fault = asyncio.run(opening(home))
    assert isinstance(fault, Damaged) and "lineup.db" in str(fault)


def test_a_home_that_cannot_be_made(home: Path):
    home.write_bytes(b"a file is in the way")
    fault = asyncio.run(opening(home))
    assert isinstance(fault, ReadOnly) and "LINEUP_HOME" in str(fault)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home(home: Path):
    home.mkdir(mode=0o500)
    assert isinstance(asyncio.run(opening(home)), ReadOnly)


def test_no_room_for_a_database(home: Path):
    """In a process that cannot write past byte 0 of any file, which even root cannot."""
    code = """
        import asyncio, resource, sys
        from pathlib import Path
        from compare.store.errors import DiskFull
        from compare.store.store import Store
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            asyncio.run(Store(Path(sys.argv[1])).open())
        except DiskFull as fault:
            print(fault)
    """
    assert "is full" in elsewhere(code, home)


async def test_a_full_disk_loses_no_row_and_leaves_no_half_picture(home: Path, store: Store):
    await store.add_run(new_run())
    await store.close()
    code = """
        import asyncio, resource, sys
        from pathlib import Path
        from compare.store.errors import DiskFull
        from compare.store.store import Store
        from tests.compare.scripted import picture
        async def main():
            store = Store(Path(sys.argv[1]))
            await store.open()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
            small = await store.add_picture("r1-0", picture("a"), position=0)
            try:
                await store.add_picture("r1-0", picture("b", size=2_000_000), position=1)
            except DiskFull as fault:
                print(fault)
            print(store.picture_path(small.sha256).is_file())
            await store.close()
        asyncio.run(main())
    """
    sentence, kept = (await asyncio.to_thread(elsewhere, code, home)).splitlines()
    assert "is full. Free some space" in sentence and kept == "True"
    assert not list((home / "incoming").iterdir())
