"""All the database's work, in one thread, many operations to a commit.

A commit waits for the disk, and the disk takes as long for sixty marks as for one. So whatever
has been asked for while the last commit was under way goes into the next one together. Each
caller still waits until its own operation is on disk.

An operation is a function of a connection and nothing else. When a batch fails it is rolled back
and each operation is run again alone, so that a fault reaches the one who caused it and no other.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compare.store.errors import StoreError, from_os, from_sqlite

if TYPE_CHECKING:  # SQLAlchemy takes a third of a second to import; the writer's thread does it.
    from sqlalchemy import Connection, Engine

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Asked:
    operation: "Callable[[Connection], Any]"
    answer: Future[Any] = field(default_factory=Future[Any])


class Writer:
    """The one thread that touches the database in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._asked: deque[_Asked] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lineup-database")
        self._engine: Engine | None = None
        self._fault: StoreError | None = None

    async def open(self) -> None:
        """Make, migrate or just open the database; what was asked before this waits for it.

        Raises:
            StoreError: it cannot be opened; every later operation raises the same.
        """
        await asyncio.wrap_future(self._thread.submit(self._open))

    async def do(self, operation: "Callable[[Connection], Result]") -> Result:
        """Run `operation` in a transaction and return its result once it is committed.

        A caller that is cancelled meanwhile does not undo it: what was asked for is done.

        Raises:
            StoreError: the database cannot do it.
        """
        asked = _Asked(operation)
        self._asked.append(asked)
        self._thread.submit(self._drain)
        return await asyncio.shield(asyncio.wrap_future(asked.answer))

    async def close(self) -> None:
        """Finish what was asked for and let go of the file."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    def _open(self) -> None:
        try:
            self._engine = _open_engine(self._home)
        except StoreError as fault:
            self._fault = fault
            raise

    def _close(self) -> None:
        self._drain()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _drain(self) -> None:
        batch: list[_Asked] = []
        while self._asked:
            batch.append(self._asked.popleft())
        if batch and not self._commit(batch):
            for asked in batch:
                self._commit([asked])

    def _commit(self, batch: list[_Asked]) -> bool:
        """Run `batch` in one transaction; False when it failed and can be taken apart."""
        try:
            results = self._run(batch)
        except Exception as error:
            if len(batch) > 1:
                return False
            batch[0].answer.set_exception(error)
            return True
        for asked, result in zip(batch, results, strict=True):
            asked.answer.set_result(result)
        return True

    def _run(self, batch: list[_Asked]) -> list[Any]:
        if self._engine is None:
            raise self._fault or StoreError("The store is not open.")
        from sqlalchemy.exc import DBAPIError

        try:
            with self._engine.begin() as connection:
                return [asked.operation(connection) for asked in batch]
        except DBAPIError as error:
            raise from_sqlite(error.orig, self._home) from error


def _open_engine(home: Path) -> "Engine":
    from sqlalchemy.exc import DBAPIError

    from compare.store.engine import open_engine

    try:
        return open_engine(home)
    except DBAPIError as error:
        raise from_sqlite(error.orig, home) from error
    except OSError as error:
        raise from_os(error, home) from error
