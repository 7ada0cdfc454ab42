"""Every query of the store, as a function of a connection: `writer.do(queries.add_run, ...)`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from statistics import median
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, case, func, or_, select, update

from backends.errors import Outcome
from compare.records import Job, Payer, Phase, Run, SavedPicture
from compare.store.budget import Budget, BudgetExceeded
from compare.store.column_types import sum_amounts
from compare.store.serialization import (
    Row,
    job_from_row,
    job_row,
    picture_from_row,
    spec_from_json,
)
from compare.store.tables import jobs, pictures, runs

_MEDIAN_OF = 25
_MEDIANS_FROM = 1000
"""A model's median is of its latest 25 jobs, among the latest 1000 of all models."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it is in the database: without the bytes of its input pictures."""

    row: Row
    jobs: tuple[Job, ...]

    def to_run(self, inputs: Mapping[str, bytes] = MappingProxyType({})) -> Run:
        """Return the run; `inputs` has the bytes of its input pictures by SHA-256."""
        return Run(
            id=self.row["id"],
            created_at=self.row["created_at"],
            spec=spec_from_json(self.row["request"], inputs),
            jobs=self.jobs,
            visitor=self.row["visitor"],
        )


def add_runs(
    connection: Connection,
    new: Sequence[tuple[Run, str]],
    owner: str,
    budget: Budget | None = None,
) -> None:
    """Insert runs with all their jobs, as one batch in this order.

    Each comes with its request as JSON; `owner` is the process that runs their jobs.

    Raises:
        BudgetExceeded: with these jobs, more than `budget` might be spent.
    """
    connection.execute(
        runs.insert(),
        [
            {
                "id": run.id,
                "batch_id": new[0][0].id,
                "position": position,
                "created_at": run.created_at,
                "prompt": run.request.prompt,
                "request": request,
                "visitor": run.visitor,
            }
            for position, (run, request) in enumerate(new)
        ],
    )
    for run, _ in new:
        add_jobs(connection, run.jobs, 0, owner)
    _check_budget(connection, budget, [job for run, _ in new for job in run.jobs])


def add_jobs(
    connection: Connection,
    new: Sequence[Job],
    first: int,
    owner: str,
    budget: Budget | None = None,
) -> None:
    """Insert jobs of a run that is stored, at the positions from `first` on.

    Raises:
        BudgetExceeded: with these jobs, more than `budget` might be spent.
    """
    rows = [
        {**job_row(job), "position": position, "owner": owner}
        for position, job in enumerate(new, first)
    ]
    connection.execute(jobs.insert(), rows)
    _check_budget(connection, budget, new)


def _check_budget(connection: Connection, budget: Budget | None, new: Sequence[Job]) -> None:
    """Raise `BudgetExceeded` if the jobs that were just inserted might cost more than is left.

    They are counted with their highest expected costs, as every job without an amount is. The
    transaction holds the database's write lock since they were inserted, so that no other job can
    be added between the sum and the commit; raising undoes the insertion.
    """
    costly = [job for job in new if job.payer is Payer.OWNER and (job.cost.high or 0) > 0]
    if budget is None or not costly:
        return
    spent = spent_since(connection, budget.since)
    if spent > budget.limit:
        expected = sum((job.cost.high or Decimal(0) for job in costly), Decimal(0))
        raise BudgetExceeded(spent=spent - expected, expected=expected)


def save_job(connection: Connection, job: Job) -> None:
    """Update a job to its present state."""
    row = job_row(job)
    connection.execute(update(jobs).where(jobs.c.id == row.pop("id")).values(row))


def mark_sent(connection: Connection, job_id: str, at: datetime) -> None:
    """Record that a job's request is sent, and may cost money, from `at` on."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values({"sent_at": at}))


def add_picture(connection: Connection, job_id: str, position: int, picture: SavedPicture) -> None:
    """Insert one picture of a job."""
    row = {"job_id": job_id, "position": position, **asdict(picture)}
    connection.execute(pictures.insert(), row)


def end_jobs(
    connection: Connection,
    ended: Iterable[Job],
    found: Mapping[tuple[str, int], SavedPicture],
) -> None:
    """Save the outcomes of orphaned jobs and insert their pictures, by job id and position."""
    for (job_id, position), picture in found.items():
        add_picture(connection, job_id, position, picture)
    for job in ended:
        save_job(connection, replace(job, phase=Phase.ENDED))


def run(connection: Connection, run_id: str) -> StoredRun | None:
    """Return one run, None if it is not stored."""
    return next(iter(_read(connection, [run_id])), None)


def recent(connection: Connection, limit: int) -> list[StoredRun]:
    """Return the newest runs, newest first."""
    newest = select(runs.c.id).order_by(runs.c.created_at.desc(), runs.c.id.desc())
    return _read(connection, connection.scalars(newest.limit(limit)).all())


def batch(connection: Connection, run_id: str) -> list[str]:
    """Return the ids of the runs in the batch of this one, in order; none if it is not stored."""
    batch_id = select(runs.c.batch_id).where(runs.c.id == run_id).scalar_subquery()
    ids = select(runs.c.id).where(runs.c.batch_id == batch_id).order_by(runs.c.position)
    return list(connection.scalars(ids))


def medians(connection: Connection) -> dict[str, dict[int, float]]:
    """Return the median seconds of generation of each model, from its latest jobs.

    For each model by the number of pictures that a job drew. Second steps are left out: they start
    from a picture and run only a part of the steps.
    """
    drawn = select(func.count()).where(pictures.c.job_id == jobs.c.id).scalar_subquery()
    done = (
        select(jobs.c.model, drawn, jobs.c.generate)
        .where(jobs.c.outcome == Outcome.DONE, jobs.c.generate.is_not(None))
        .where(jobs.c.parent.is_(None))
        .order_by(jobs.c.created_at.desc())
        .limit(_MEDIANS_FROM)
    )
    seconds: dict[str, dict[int, list[float]]] = {}
    for model, count, generate in connection.execute(done):
        latest = seconds.setdefault(model, {}).setdefault(max(1, count), [])
        if len(latest) < _MEDIAN_OF:
            latest.append(generate)
    return {
        model: {count: median(latest) for count, latest in by_count.items()}
        for model, by_count in seconds.items()
    }


def spent_since(connection: Connection, moment: datetime) -> Decimal:
    """Return the cost in USD of the jobs since `moment` that the owner pays for.

    These are the jobs that were created or sent since then, and those that may still be sent.
    A job without an amount counts with the upper estimate while it is under way, or if it was
    sent and its outcome does not say what it cost; else it counts nothing.
    """
    may_cost = or_(jobs.c.sent_at.is_not(None), jobs.c.outcome.is_(None))
    cost = func.coalesce(jobs.c.amount, case((may_cost, jobs.c.high)))
    mine = jobs.c.payer == Payer.OWNER
    since = or_(jobs.c.created_at >= moment, jobs.c.sent_at >= moment, jobs.c.outcome.is_(None))
    total = select(sum_amounts(cost)).where(since, mine)
    return connection.execute(total).scalar_one() or Decimal(0)


def drawn_since(connection: Connection, backend: str, moment: datetime) -> int:
    """Return the number of pictures that a backend made in the jobs created since `moment`."""
    count = (
        select(func.count())
        .select_from(pictures.join(jobs, pictures.c.job_id == jobs.c.id))
        .where(jobs.c.backend == backend, jobs.c.created_at >= moment)
    )
    return connection.execute(count).scalar_one()


def with_pictures(connection: Connection, job_ids: Iterable[str]) -> frozenset[str]:
    """Return the ids among `job_ids` of the jobs that have pictures."""
    found = select(pictures.c.job_id).where(pictures.c.job_id.in_(tuple(job_ids)))
    return frozenset(connection.scalars(found))


def unfinished(connection: Connection) -> dict[str, list[Job]]:
    """Return all jobs without an outcome, by the process that owns them."""
    open_jobs = select(jobs).where(jobs.c.outcome.is_(None)).order_by(jobs.c.id)
    found: dict[str, list[Job]] = {}
    for row in connection.execute(open_jobs).mappings().all():
        saved = _pictures(connection, [row["id"]]).get(row["id"], {})
        found.setdefault(row["owner"], []).append(job_from_row(row, saved.values()))
    return found


def _read(connection: Connection, ids: Sequence[str]) -> list[StoredRun]:
    found = connection.execute(select(runs).where(runs.c.id.in_(ids))).mappings().all()
    by_id: dict[str, Row] = {row["id"]: dict(row) for row in found}
    job_rows = (
        connection.execute(
            select(jobs).where(jobs.c.run_id.in_(ids)).order_by(jobs.c.run_id, jobs.c.position)
        )
        .mappings()
        .all()
    )
    saved = _pictures(connection, [row["id"] for row in job_rows])
    by_run: dict[str, list[Job]] = {}
    for row in job_rows:
        job = job_from_row(row, saved.get(row["id"], {}).values())
        by_run.setdefault(job.run_id, []).append(job)
    return [StoredRun(by_id[id], tuple(by_run.get(id, ()))) for id in ids if id in by_id]


def _pictures(connection: Connection, job_ids: Sequence[Any]) -> dict[str, dict[int, SavedPicture]]:
    """Return the pictures of some jobs: by job, then position, in order."""
    rows = (
        connection.execute(
            select(pictures).where(pictures.c.job_id.in_(job_ids)).order_by(pictures.c.position)
        )
        .mappings()
        .all()
    )
    found: dict[str, dict[int, SavedPicture]] = {}
    for row in rows:
        found.setdefault(row["job_id"], {})[row["position"]] = picture_from_row(row)
    return found
