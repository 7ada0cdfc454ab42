"""The database is deleted, moved or replaced while Lineup runs: the next write says so."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backends.base import Request
from backends.images.validation import check
from compare.records import Job, Run, RunSpec
from compare.store.errors import Replaced
from compare.store.store import Store
from tests.servers.pictures import plain

NOW = datetime.now(UTC)


def run(id: str) -> Run:
    job = Job(id=f"{id}-0", run_id=id, model="test/good", created_at=NOW)
    return Run(id=id, created_at=NOW, spec=RunSpec(Request(prompt="a fox")), jobs=(job,))


@pytest.fixture
async def store(home: Path) -> AsyncIterator[Store]:
    store = Store(home)
    await store.open()
    await store.add_run(run("a"))
    yield store
    with suppress(Replaced):
        await store.close()


def delete(home: Path) -> None:
    for file in home.glob("lineup.db*"):
        file.unlink()


def delete_log(home: Path) -> None:
    (home / "lineup.db-wal").unlink()


def move(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))


def put_another(home: Path) -> None:
    delete(home)
    with closing(sqlite3.connect(home / "lineup.db")) as other:
        other.execute("create table runs (id)")


def delete_index(home: Path) -> None:
    (home / "lineup.db-shm").unlink()


def put_a_backup(home: Path) -> None:
    shutil.copyfile(home / "lineup.db", home / "backup.db")
    (home / "backup.db").replace(home / "lineup.db")


def empty(home: Path) -> None:
    os.truncate(home / "lineup.db", 0)


def copy_another_in_place(home: Path) -> None:
    other = home / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("create table runs (id)")
        database.commit()
    with closing(sqlite3.connect(home / "lineup.db")) as target:
        target.execute("pragma wal_checkpoint(truncate)")
    shutil.copyfile(other, home / "lineup.db")


@pytest.mark.parametrize(
    "change", [delete, delete_log, delete_index, move, put_another, put_a_backup, empty]
)
async def test_the_next_write_says_so(
    home: Path, store: Store, change: Callable[[Path], None]
) -> None:
    change(home)
    with pytest.raises(Replaced, match="deleted, moved or replaced while Lineup runs"):
        await store.add_run(run("b"))
    with pytest.raises(Replaced):
        await store.run("a")
    with pytest.raises(Replaced):
        await store.add_picture("a-0", check(plain(16, 16)), position=0)


async def test_another_database_that_is_copied_over_it_is_an_error(
    home: Path, store: Store
) -> None:
    copy_another_in_place(home)
    with pytest.raises(Exception, match=r"replaced|damaged|could not be used"):
        await store.add_run(run("b"))


async def test_everybody_who_writes_at_once_is_told(home: Path, store: Store) -> None:
    delete(home)
    writes = [store.add_run(run(f"b{number}")) for number in range(16)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(result) for result in results} == {Replaced}


async def test_a_database_that_is_put_back_goes_on(home: Path, store: Store) -> None:
    (home / "lineup.db").rename(home / "away.db")
    with pytest.raises(Replaced):
        await store.add_run(run("b"))
    (home / "away.db").rename(home / "lineup.db")
    await store.add_run(run("c"))
    assert {each.id for each in await store.recent()} == {"a", "c"}


async def test_several_processes_are_no_replacement(home: Path, store: Store) -> None:
    other = Store(home)
    await other.open()
    await other.add_run(run("b"))
    await store.add_run(run("c"))
    await other.close()
    await store.add_run(run("d"))
    assert {each.id for each in await store.recent()} == {"a", "b", "c", "d"}


async def test_a_folder_of_pictures_that_was_deleted_is_made_again(
    home: Path, store: Store
) -> None:
    for name in ("pictures", "incoming", "controls"):
        shutil.rmtree(home / name)
    saved = await store.add_picture("a-0", check(plain(16, 16)), position=0)
    assert (home / saved.path).read_bytes() == plain(16, 16)


async def test_jobs_of_a_dead_process_end_without_a_folder_of_pictures(
    home: Path, store: Store
) -> None:
    other = Store(home)
    await other.open()
    await store.close()
    shutil.rmtree(home / "incoming")
    found = await other.run("a")
    assert found is not None and found.jobs[0].outcome is not None
    await other.close()
