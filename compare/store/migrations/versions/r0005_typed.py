"""Exact amounts, timestamps and dates instead of text; a run's batch and a job's backend.

Before this revision the runs of a batch were found by the beginning of their ids ("8f3a...c1v1",
"8f3a...c1v2") and the jobs of a backend by that of their model ("openai/...").

SQLite cannot change the type of a column, so all three tables are copied: no database drops a
table that another one refers to.

The column types are those of the day of this revision: a later change of
`compare/store/column_types.py` must not change what it does.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Row = dict[str, Any]

_IN_A_BATCH = re.compile(r"([0-9a-f]{16}v)([0-9]+)")
_INDEXES = (
    ("runs", "created_at"),
    ("jobs", "run_id"),
    ("jobs", "model"),
    ("jobs", "outcome"),
    ("pictures", "sha256"),
)
_NEW_INDEXES = (("runs", "batch_id"), ("jobs", "backend"))
_ROWS = 500
"""How many rows are converted at a time."""


class _Amount(sa.TypeDecorator[Decimal]):
    """An exact amount: decimal text on SQLite, NUMERIC elsewhere."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        kind = sa.Text() if dialect.name == "sqlite" else sa.Numeric(asdecimal=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Any:
        return f"{value:f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class _Timestamp(sa.TypeDecorator[datetime]):
    """A moment: UTC in the database, aware in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def upgrade() -> None:
    """Convert every value; fill the new columns from the ids of runs and models."""
    _replace(_text_tables(""), _typed_tables("_typed"), _typed_run, _typed_job)
    for table, column in (*_INDEXES, *_NEW_INDEXES):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    """Convert every value back and leave out the new columns."""
    _replace(_typed_tables(""), _text_tables("_text"), _text_run, _text_job)
    for table, column in _INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column])


def _replace(
    old: list[sa.Table],
    new: list[sa.Table],
    run: Callable[[Row], Row],
    job: Callable[[Row], Row],
) -> None:
    """Copy runs, jobs and pictures to new tables, which then get the names of the old ones."""
    connection = op.get_bind()
    for source, target, convert in zip(old, new, (run, job, dict), strict=True):
        target.create(connection)
        for rows in connection.execute(sa.select(source)).mappings().partitions(_ROWS):
            connection.execute(target.insert(), [convert(dict(row)) for row in rows])
    for table in reversed(old):
        op.drop_table(table.name)
    for source, target in zip(old, new, strict=True):
        op.rename_table(target.name, source.name)


def _typed_run(row: Row) -> Row:
    of_batch = _IN_A_BATCH.fullmatch(row["id"])
    return row | {
        "created_at": _moment(row["created_at"]),
        "batch_id": f"{of_batch[1]}1" if of_batch else row["id"],
        "position": int(of_batch[2]) - 1 if of_batch else 0,
    }


def _typed_job(row: Row) -> Row:
    typed = row | {"backend": row["model"].partition("/")[0].partition("@")[0]}
    for name in ("created_at", "started_at", "sent_at"):
        typed[name] = _moment(row[name])
    for name in ("amount", "low", "high"):
        typed[name] = None if row[name] is None else Decimal(row[name])
    day = row["priced_on"]
    return typed | {"priced_on": None if day is None else date.fromisoformat(day)}


def _text_run(row: Row) -> Row:
    kept = {name: row[name] for name in ("id", "prompt", "request")}
    return kept | {"created_at": row["created_at"].isoformat()}


def _text_job(row: Row) -> Row:
    text = {name: value for name, value in row.items() if name != "backend"}
    for name in ("created_at", "started_at", "sent_at", "priced_on"):
        text[name] = None if row[name] is None else row[name].isoformat()
    for name in ("amount", "low", "high"):
        text[name] = None if row[name] is None else f"{row[name]:f}"
    return text


def _moment(text: str | None) -> datetime | None:
    """Parse ISO 8601; a time without a zone is UTC, as all times of the store are."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text_tables(suffix: str) -> list[sa.Table]:
    """Return the tables of revision 0004, with a suffix to their names."""
    return _tables(suffix, sa.Text(), sa.Text(), sa.Text(), [], [])


def _typed_tables(suffix: str) -> list[sa.Table]:
    """Return the tables of this revision, with a suffix to their names."""
    batch = [
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    ]
    backend = [sa.Column("backend", sa.Text, nullable=False)]
    return _tables(suffix, _Amount(), _Timestamp(), sa.Date(), batch, backend)


def _tables(
    suffix: str,
    amount: TypeEngine[Any],
    moment: TypeEngine[Any],
    day: TypeEngine[Any],
    run_columns: list[sa.Column[Any]],
    job_columns: list[sa.Column[Any]],
) -> list[sa.Table]:
    """Return runs, jobs and pictures, in the order in which they refer to each other."""
    metadata = sa.MetaData()
    runs = sa.Table(
        f"runs{suffix}",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        *run_columns,
        sa.Column("created_at", moment, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
    )
    jobs = sa.Table(
        f"jobs{suffix}",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey(runs.c.id), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        *job_columns,
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("sent_at", moment),
        sa.Column("outcome", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("queued", sa.Float),
        sa.Column("load", sa.Float),
        sa.Column("first_preview", sa.Float),
        sa.Column("generate", sa.Float),
        sa.Column("download", sa.Float),
        sa.Column("total", sa.Float),
        sa.Column("cached", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("amount", amount),
        sa.Column("low", amount),
        sa.Column("high", amount),
        sa.Column("basis", sa.Text),
        sa.Column("priced_on", day),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("honoured", sa.Text, nullable=False),
        sa.Column("parent", sa.Text),
    )
    pictures = sa.Table(
        f"pictures{suffix}",
        metadata,
        sa.Column("job_id", sa.Text, sa.ForeignKey(jobs.c.id), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger),
    )
    return [runs, jobs, pictures]
