"""Run all database work in one thread and commit many queries together.

A commit waits for the disk, which takes as long for sixty rows as for one. So all queries that
were submitted while the last commit was under way share the next transaction. Each caller still
waits until its own query is committed.

A query is a function whose first parameter is the connection, and it has no effect but on the
database. If a shared transaction fails it is rolled back and each query is run again in a
transaction of its own, so that an error reaches the caller that caused it and no other.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from compare.store.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from compare.store.engine import Database

P = ParamSpec("P")
Result = TypeVar("Result")


def _import_queries():
    """Import the queries, and with them SQLAlchemy, late: that takes a third of a second."""
    from compare.store import queries

    return queries


@dataclass(frozen=True, slots=True)
class _Submitted:
    query: "Callable[[Connection], Any]"
    result: Future[Any] = field(default_factory=Future[Any])


class Writer:
    """The one thread that uses the database in `home`, for reading as well."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._submitted: deque[_Submitted] = deque()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="lineup-database", initializer=_import_queries
        )
        self._database: Database | None = None
        self._open_error: StoreError | None = None

    @property
    def queries(self):
        """The module whose functions `do` takes; the writer's thread imports it when it starts."""
        return _import_queries()

    async def open(self) -> None:
        """Create, migrate or just open the database; queries submitted meanwhile wait for it.

        Raises:
            StoreError: it cannot be opened; every later query raises the same error.
        """
        await asyncio.wrap_future(self._thread.submit(self._open))

    async def do(
        self,
        query: "Callable[Concatenate[Connection, P], Result]",
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result:
        """Run `query(connection, *args, **kwargs)` and return its result once it is committed.

        Cancelling the caller does not undo a query that was submitted: it is still run.

        Raises:
            StoreError: the database cannot run it.
        """
        submitted = _Submitted(lambda connection: query(connection, *args, **kwargs))
        self._submitted.append(submitted)
        self._thread.submit(self._run_submitted)
        return await asyncio.shield(asyncio.wrap_future(submitted.result))

    async def close(self) -> None:
        """Run what is still submitted and close the database."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    def _open(self) -> None:
        from compare.store.engine import Database

        try:
            self._database = Database(self._home)
        except StoreError as error:
            self._open_error = error
            raise

    def _close(self) -> None:
        self._run_submitted()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _run_submitted(self) -> None:
        batch: list[_Submitted] = []
        while self._submitted:
            batch.append(self._submitted.popleft())
        if batch and not self._run(batch):
            for submitted in batch:
                self._run([submitted])

    def _run(self, batch: Sequence[_Submitted]) -> bool:
        """Run `batch` in one transaction; return False if it failed and can be split."""
        try:
            results = self._transact(batch)
        except Exception as error:
            if len(batch) > 1:
                return False
            batch[0].result.set_exception(error)
            return True
        for submitted, result in zip(batch, results, strict=True):
            submitted.result.set_result(result)
        return True

    def _transact(self, batch: Sequence[_Submitted]) -> list[Any]:
        if self._database is None:
            raise self._open_error or StoreError("The store is not open.")
        with self._database.transaction() as connection:
            return [submitted.query(connection) for submitted in batch]
