"""What is written to the database and read from it: functions of a connection, for `Writer.do`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from statistics import median
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, func, select, update

from backends.errors import Outcome
from compare.records import Job, Phase, Run, SavedPicture
from compare.store.serialization import Row, job_from, job_row, picture_from, spec_from
from compare.store.tables import jobs, pictures, runs

_MEDIAN_OF = 25


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it is kept; the pictures that were given to it lie elsewhere."""

    run: Row
    jobs: tuple[Job, ...]

    def whole(self, given: Mapping[str, bytes] = MappingProxyType({})) -> Run:
        """Return the run, with the pictures of `given` (by SHA-256) back in its request."""
        return Run(
            id=self.run["id"],
            created_at=datetime.fromisoformat(self.run["created_at"]),
            spec=spec_from(self.run["request"], given),
            jobs=self.jobs,
        )


def add_run(run: Run, request: str, owner: str) -> Callable[[Connection], None]:
    """Write a new run and all its jobs."""

    def operation(connection: Connection) -> None:
        connection.execute(
            runs.insert(),
            {
                "id": run.id,
                "created_at": run.created_at.isoformat(),
                "prompt": run.request.prompt,
                "request": request,
            },
        )
        rows = [
            {**job_row(job), "position": position, "owner": owner}
            for position, job in enumerate(run.jobs)
        ]
        connection.execute(jobs.insert(), rows)

    return operation


def together(*operations: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Do several things in one transaction: all of them or none."""

    def operation(connection: Connection) -> None:
        for each in operations:
            each(connection)

    return operation


def add_job(job: Job, position: int, owner: str) -> Callable[[Connection], None]:
    """Write one more job of a run that is there."""

    def operation(connection: Connection) -> None:
        row = {**job_row(job), "position": position, "owner": owner}
        connection.execute(jobs.insert(), row)

    return operation


def save_job(job: Job) -> Callable[[Connection], None]:
    """Write how a job stands now."""

    def operation(connection: Connection) -> None:
        row = job_row(job)
        connection.execute(update(jobs).where(jobs.c.id == row.pop("id")).values(row))

    return operation


def mark_sent(job_id: str, at: datetime) -> Callable[[Connection], None]:
    """Write that money may be spent on a job from now on."""

    def operation(connection: Connection) -> None:
        values = {"sent_at": at.isoformat()}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))

    return operation


def add_picture(job_id: str, position: int, picture: SavedPicture) -> Callable[[Connection], None]:
    """Write one picture of a job."""

    def operation(connection: Connection) -> None:
        row = {"job_id": job_id, "position": position, **asdict(picture)}
        connection.execute(pictures.insert(), row)

    return operation


def run(run_id: str) -> Callable[[Connection], StoredRun | None]:
    """Read one run."""

    def operation(connection: Connection) -> StoredRun | None:
        return next(iter(_read(connection, [run_id])), None)

    return operation


def batch(first_id: str) -> Callable[[Connection], list[str]]:
    """Read the ids of the runs whose ids begin so, in order."""

    def operation(connection: Connection) -> list[str]:
        ids = connection.scalars(select(runs.c.id).where(runs.c.id.startswith(first_id)))
        return sorted(ids, key=lambda id: (len(id), id))

    return operation


def recent(limit: int) -> Callable[[Connection], list[StoredRun]]:
    """Read the newest runs, newest first."""

    def operation(connection: Connection) -> list[StoredRun]:
        newest = select(runs.c.id).order_by(runs.c.created_at.desc(), runs.c.id.desc())
        return _read(connection, connection.scalars(newest.limit(limit)).all())

    return operation


def medians(connection: Connection) -> dict[str, float]:
    """Read how many seconds of drawing each model usually takes, from its latest jobs.

    A second step draws only what is left to draw, so its seconds tell nothing here.
    """
    drawn = (
        select(jobs.c.model, jobs.c.generate)
        .where(jobs.c.outcome == Outcome.DONE, jobs.c.generate.is_not(None))
        .where(jobs.c.parent.is_(None))
        .order_by(jobs.c.created_at.desc())
        .limit(1000)
    )
    seconds: dict[str, list[float]] = {}
    for model, generate in connection.execute(drawn):
        latest = seconds.setdefault(model, [])
        if len(latest) < _MEDIAN_OF:
            latest.append(generate)
    return {model: median(latest) for model, latest in seconds.items()}


def spent_since(moment: datetime) -> Callable[[Connection], Decimal]:
    """Read what jobs begun since `moment` have cost, in USD.

    What is under way, or was sent and never answered, counts with the most that was expected.
    """

    def operation(connection: Connection) -> Decimal:
        costs = select(
            jobs.c.amount, jobs.c.high, (jobs.c.sent_at.is_not(None)) | (jobs.c.outcome.is_(None))
        ).where(jobs.c.created_at >= moment.isoformat())
        return sum(
            (
                Decimal(amount or (high if may_cost else None) or 0)
                for amount, high, may_cost in connection.execute(costs)
            ),
            Decimal(0),
        )

    return operation


def drawn_since(backend: str, moment: datetime) -> Callable[[Connection], int]:
    """Count the pictures that came from a backend in jobs begun since `moment`."""

    def operation(connection: Connection) -> int:
        counted = (
            select(func.count())
            .select_from(pictures.join(jobs, pictures.c.job_id == jobs.c.id))
            .where(jobs.c.created_at >= moment.isoformat(), jobs.c.model.startswith(f"{backend}/"))
        )
        return connection.execute(counted).scalar_one()

    return operation


def drawn(job_ids: Iterable[str]) -> Callable[[Connection], frozenset[str]]:
    """Read which of these jobs have pictures."""

    def operation(connection: Connection) -> frozenset[str]:
        found = select(pictures.c.job_id).where(pictures.c.job_id.in_(tuple(job_ids)))
        return frozenset(connection.scalars(found))

    return operation


def unfinished(connection: Connection) -> dict[str, list[Job]]:
    """Read all jobs without an outcome, by the process that owns them."""
    open_jobs = select(jobs).where(jobs.c.outcome.is_(None)).order_by(jobs.c.id)
    found: dict[str, list[Job]] = {}
    for row in connection.execute(open_jobs).mappings().all():
        kept = _pictures(connection, [row["id"]]).get(row["id"], {})
        found.setdefault(row["owner"], []).append(job_from(row, kept.values()))
    return found


def end_jobs(
    ended: Iterable[Job], found: Mapping[tuple[str, int], SavedPicture]
) -> Callable[[Connection], None]:
    """Write the outcomes of jobs whose process is gone, with the pictures it left behind."""

    def operation(connection: Connection) -> None:
        for (job_id, position), picture in found.items():
            add_picture(job_id, position, picture)(connection)
        for job in ended:
            save_job(replace(job, phase=Phase.ENDED))(connection)

    return operation


def _read(connection: Connection, ids: Sequence[str]) -> list[StoredRun]:
    found = connection.execute(select(runs).where(runs.c.id.in_(ids))).mappings().all()
    by_id: dict[str, Row] = {row["id"]: dict(row) for row in found}
    rows = (
        connection.execute(
            select(jobs).where(jobs.c.run_id.in_(ids)).order_by(jobs.c.run_id, jobs.c.position)
        )
        .mappings()
        .all()
    )
    kept = _pictures(connection, [row["id"] for row in rows])
    of_run: dict[str, list[Job]] = {}
    for row in rows:
        job = job_from(row, kept.get(row["id"], {}).values())
        of_run.setdefault(job.run_id, []).append(job)
    return [StoredRun(by_id[id], tuple(of_run.get(id, ()))) for id in ids if id in by_id]


def _pictures(connection: Connection, ids: Sequence[Any]) -> dict[str, dict[int, SavedPicture]]:
    """Read the pictures of some jobs: by job, then position, in order."""
    rows = (
        connection.execute(
            select(pictures).where(pictures.c.job_id.in_(ids)).order_by(pictures.c.position)
        )
        .mappings()
        .all()
    )
    found: dict[str, dict[int, SavedPicture]] = {}
    for row in rows:
        found.setdefault(row["job_id"], {})[row["position"]] = picture_from(row)
    return found
