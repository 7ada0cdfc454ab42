"""Store runs and jobs in a database, and pictures as files beside it.

    lineup.db    runs, jobs, pictures, at the newest revision of `migrations/`
    pictures/    finished pictures, unchanged, each named by its SHA-256
    incoming/    pictures that the database does not list yet (see compare/store/files.py)
    controls/    input pictures (control pictures, start pictures), named by their SHA-256
    owners/      one lock file for each running process (see compare/store/process_lock.py)

Two rules make it a ledger. The mark "sent" is on disk before `mark_sent` returns, and no request
is sent before that. A picture's bytes and row are on disk before `add_picture` returns, and no
job is reported as done before that. All of it happens off the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from backends.base import Picture
from compare.records import Job, Run, SavedPicture
from compare.store.budget import Budget
from compare.store.errors import from_os
from compare.store.files import PictureFiles, save_to_temp
from compare.store.process_lock import ProcessLock
from compare.store.recovery import recover
from compare.store.serialization import input_hashes, spec_to_json
from compare.store.writer import Writer

if TYPE_CHECKING:
    from compare.store.queries import StoredRun

P = ParamSpec("P")
Result = TypeVar("Result")

# Hashing and writing release the GIL; more threads than this gain nothing.
_FILE_THREADS = 4


class Store:
    """Everything that outlives the process. Works from any event loop."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._pictures = PictureFiles(home)
        self._process = ProcessLock(home)
        self._writer = Writer(home)
        self._threads = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="lineup-files")
        self._closed = False

    @property
    def owner_id(self) -> str:
        """The id of this process among those that share the folder."""
        return self._process.id

    async def open(self) -> None:
        """Create or open the store, and end the jobs that a crashed process left.

        Raises:
            StoreError: the folder or the database cannot be used; the sentence says why.
        """
        await self._off_loop(self._prepare)
        await self._writer.open()
        await self.recover()

    async def close(self) -> None:
        """Finish writing and release everything; closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._off_loop(self._process.release)
        self._threads.shutdown(wait=False)

    async def recover(self) -> int:
        """End the jobs of processes that no longer run; return how many there were."""
        return await recover(self._writer, self._pictures, self._process)

    async def add_run(self, *runs: Run, budget: Budget | None = None) -> None:
        """Store new runs as one batch, with their jobs and input pictures: all of them or none.

        Raises:
            BudgetExceeded: they might cost more than is left; nothing was stored.
        """
        rows: list[tuple[Run, str]] = []
        for run in runs:
            request = run.request
            text = spec_to_json(
                run.spec,
                [await self._save_input(control.image) for control in request.controls],
                None if request.image is None else await self._save_input(request.image),
            )
            rows.append((run, text))
        await self._writer.do(self._writer.queries.add_runs, rows, self.owner_id, budget)

    async def add_jobs(
        self, jobs: Sequence[Job], position: int, *, budget: Budget | None = None
    ) -> None:
        """Store more jobs of a stored run, from `position` on: all of them or none.

        Raises:
            BudgetExceeded: they might cost more than is left; nothing was stored.
        """
        query = self._writer.queries.add_jobs
        await self._writer.do(query, jobs, position, self.owner_id, budget)

    async def save_job(self, job: Job) -> None:
        """Store the present state of a job, except its pictures."""
        await self._writer.do(self._writer.queries.save_job, job)

    async def mark_sent(self, job_id: str, at: datetime) -> None:
        """Record on disk that a job's request is about to be sent."""
        await self._writer.do(self._writer.queries.mark_sent, job_id, at)

    async def add_picture(self, job_id: str, picture: Picture, *, position: int) -> SavedPicture:
        """Store a finished picture of a job, its file and its row; `position` counts from 0."""
        incoming = await self._off_loop(self._pictures.receive, job_id, position, picture)
        saved = incoming.picture
        await self._writer.do(self._writer.queries.add_picture, job_id, position, saved)
        await self._off_loop(self._pictures.accept, incoming)
        return saved

    async def rescue(self, picture: Picture) -> Path | None:
        """Write a picture that `add_picture` could not store to the system's temporary folder."""
        return await self._off_loop(save_to_temp, picture)

    async def run(self, run_id: str) -> Run | None:
        """Return a run, None if it is not stored; jobs of a process that died are ended first."""
        query = self._writer.queries.run
        stored = await self._writer.do(query, run_id)
        if stored is None:
            return None
        if any(job.outcome is None for job in stored.jobs) and await self.recover():
            stored = await self._writer.do(query, run_id) or stored
        return await self._with_inputs(stored)

    async def batch(self, run_id: str) -> list[str]:
        """Return the ids of the runs started together with this one, itself included, in order."""
        return await self._writer.do(self._writer.queries.batch, run_id)

    async def recent(self, limit: int = 50) -> tuple[Run, ...]:
        """Return the newest runs, newest first, without the bytes of their input pictures."""
        stored = await self._writer.do(self._writer.queries.recent, limit)
        return tuple(run.to_run() for run in stored)

    async def medians(self) -> dict[str, dict[int, float]]:
        """Return the median seconds of generation of each model, by the number of pictures."""
        return await self._writer.do(self._writer.queries.medians)

    async def median_seconds(self, model_id: str) -> float | None:
        """Return the median seconds of generation of one picture, None before there is one."""
        return (await self.medians()).get(model_id, {}).get(1)

    async def spent_since(self, moment: datetime) -> Decimal:
        """Return the cost in USD of the jobs created since `moment`, estimates included."""
        return await self._writer.do(self._writer.queries.spent_since, moment)

    async def drawn_since(self, backend: str, moment: datetime) -> int:
        """Return how many pictures a backend made in the jobs created since `moment`."""
        return await self._writer.do(self._writer.queries.drawn_since, backend, moment)

    async def picture(self, sha256: str) -> bytes | None:
        """Return the bytes of a finished picture, None if its file is missing."""
        return await self._off_loop(self._pictures.read, sha256)

    def picture_path(self, sha256: str) -> Path | None:
        """Return the file of a picture; this blocks, but only for one look into one folder."""
        return self._pictures.path(sha256)

    def input_path(self, image: bytes) -> Path:
        """Return the file in which an input picture of a run is stored."""
        return self._pictures.input_path(image)

    async def _save_input(self, image: bytes) -> str:
        """Store an input picture and return its SHA-256."""
        return await self._off_loop(self._pictures.save_input, image)

    async def _with_inputs(self, stored: "StoredRun") -> Run:
        names = input_hashes(stored.row["request"])
        inputs = {name: await self._off_loop(self._pictures.read_input, name) for name in names}
        return stored.to_run(inputs)

    def _prepare(self) -> None:
        self._pictures.prepare()
        self._process.acquire()

    async def _off_loop(
        self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Run a blocking function on files in a thread; it is finished even if cancelled."""
        loop = asyncio.get_running_loop()
        call = partial(function, *args, **kwargs)
        try:
            return await asyncio.shield(loop.run_in_executor(self._threads, call))
        except OSError as error:
            raise from_os(error, self.home) from error
