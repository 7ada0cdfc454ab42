"""Where comparisons are kept: runs and jobs in SQLite, pictures as files beside it.

    lineup.db    runs, jobs, pictures, in the present revision of `migrations/`
    pictures/    finished pictures as they came, each under its SHA-256
    incoming/    pictures that the database does not know yet (see compare/store/files.py)
    controls/    pictures that were given, to steer with or to start from, likewise
    owners/      one lock for each process that is at work here

Two rules make it a ledger. The mark "sent" is on disk before `mark_sent` returns, and nothing is
sent before. A picture's bytes and row are on disk before `add_picture` returns, and nothing says
"done" before. All of it happens off the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from backends.base import Picture
from compare.records import Job, Run, SavedPicture
from compare.store.errors import from_os
from compare.store.files import PictureFiles, rescue
from compare.store.process_lock import ProcessLock
from compare.store.run_ids import beginning
from compare.store.serialization import picture_names, spec_text
from compare.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from compare.store.queries import StoredRun

Result = TypeVar("Result")

# Hashing and the disk both let go of the interpreter; more threads than this gain nothing.
_FILE_THREADS = 4


class Store:
    """Everything that outlives the process. Works from any event loop."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._shelf = PictureFiles(home)
        self._owner = ProcessLock(home)
        self._writer = Writer(home)
        self._files = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="lineup-files")
        self._closed = False

    @property
    def owner_id(self) -> str:
        """The name of this process among those that share the folder."""
        return self._owner.id

    async def open(self) -> None:
        """Make or open everything, and end what a crashed process left.

        Raises:
            StoreError: the folder or the database cannot be used; the sentence says why.
        """
        await self._off_loop(self._prepare)
        await self._writer.open()
        await self.recover()

    async def close(self) -> None:
        """Finish writing and let go of everything; closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._off_loop(self._owner.end)
        self._files.shutdown(wait=False)

    async def recover(self) -> int:
        """End the jobs of processes that are gone, as is true of each; return how many."""
        from compare.store.recovery import recover

        return await recover(self._writer, self._shelf, self._owner)

    async def add_run(self, *runs: Run) -> None:
        """Keep new runs with their jobs and the pictures given to them: all of them or none."""
        from compare.store import queries

        operations: list[Callable[[Connection], None]] = []
        for run in runs:
            request = run.request
            text = spec_text(
                run.spec,
                [await self._keep(control.image) for control in request.controls],
                None if request.image is None else await self._keep(request.image),
            )
            operations.append(queries.add_run(run, text, self.owner_id))
        await self._writer.do(queries.together(*operations))

    async def add_jobs(self, jobs: Sequence[Job], position: int) -> None:
        """Keep more jobs of a run that is there, from `position` on: all of them or none."""
        from compare.store import queries

        operations = [
            queries.add_job(job, place, self.owner_id) for place, job in enumerate(jobs, position)
        ]
        await self._writer.do(queries.together(*operations))

    async def save_job(self, job: Job) -> None:
        """Keep how a job stands, all but its pictures."""
        from compare.store import queries

        await self._writer.do(queries.save_job(job))

    async def mark_sent(self, job_id: str, at: datetime) -> None:
        """Put on disk that a job's request leaves now."""
        from compare.store import queries

        await self._writer.do(queries.mark_sent(job_id, at))

    async def add_picture(self, job_id: str, picture: Picture, *, position: int) -> SavedPicture:
        """Put a finished picture on disk and into the ledger; `position` counts from 0."""
        from compare.store import queries

        incoming = await self._off_loop(self._shelf.receive, job_id, position, picture)
        await self._writer.do(queries.add_picture(job_id, position, incoming.picture))
        await self._off_loop(self._shelf.settle, incoming)
        return incoming.picture

    async def rescue(self, picture: Picture) -> Path | None:
        """Put a picture that `add_picture` could not keep into the system's temporary folder."""
        return await self._off_loop(rescue, picture)

    async def run(self, run_id: str) -> Run | None:
        """Return a run as it truly stands: jobs of a process that died are ended first."""
        from compare.store import queries

        kept = await self._writer.do(queries.run(run_id))
        if kept is None:
            return None
        if any(job.outcome is None for job in kept.jobs) and await self.recover():
            kept = await self._writer.do(queries.run(run_id)) or kept
        return await self._whole(kept)

    async def batch(self, run_id: str) -> list[str]:
        """Return the ids of the runs that were started together with this one, itself included."""
        from compare.store import queries

        first = beginning(run_id)
        return [run_id] if first is None else await self._writer.do(queries.batch(first))

    async def recent(self, limit: int = 50) -> tuple[Run, ...]:
        """Return the newest runs, newest first; pictures given to them are left on disk."""
        from compare.store import queries

        return tuple(kept.whole() for kept in await self._writer.do(queries.recent(limit)))

    async def medians(self) -> dict[str, float]:
        """Return how many seconds of drawing each model usually takes."""
        from compare.store import queries

        return await self._writer.do(queries.medians)

    async def median_seconds(self, model_id: str) -> float | None:
        """Return how many seconds of drawing one model usually takes, None before its first."""
        return (await self.medians()).get(model_id)

    async def spent_since(self, moment: datetime) -> Decimal:
        """Return what jobs begun since `moment` have cost, in USD, estimates where nothing else."""
        from compare.store import queries

        return await self._writer.do(queries.spent_since(moment))

    async def drawn_since(self, backend: str, moment: datetime) -> int:
        """Return how many pictures came from a backend in jobs begun since `moment`."""
        from compare.store import queries

        return await self._writer.do(queries.drawn_since(backend, moment))

    async def picture(self, sha256: str) -> bytes | None:
        """Return the bytes of a finished picture, None where it is gone."""
        return await self._off_loop(self._shelf.drawn, sha256)

    def picture_path(self, sha256: str) -> Path | None:
        """Return the file of a picture; one look into one folder."""
        return self._shelf.path(sha256)

    def given_path(self, image: bytes) -> Path:
        """Return the file in which a picture that was given with a run is kept."""
        return self._shelf.given_path(image)

    async def _keep(self, image: bytes) -> str:
        """Keep a picture that was given, and return its SHA-256."""
        return await self._off_loop(self._shelf.keep_given, image)

    async def _whole(self, kept: "StoredRun") -> Run:
        names = picture_names(kept.run["request"])
        return kept.whole({name: await self._off_loop(self._shelf.given, name) for name in names})

    def _prepare(self) -> None:
        self._shelf.prepare()
        self._owner.begin()

    async def _off_loop(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run blocking work on files in a thread; what was begun is finished, come what may."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(self._files, work, *arguments))
        except OSError as error:
            raise from_os(error, self.home) from error
