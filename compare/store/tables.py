"""The tables of the store. `migrations/` makes them; a test holds the two together.

Amounts are exact (`Amount`), moments are UTC (`Timestamp`), mappings are JSON. The bytes of
pictures are files beside the database, never in it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    false,
)

from compare.store.column_types import Amount, Timestamp

metadata = MetaData()

# Runs that were started together are a batch: `batch_id` is the id of the first of them, and
# `position` counts from 0 within the batch. A run that was started alone is a batch of one.
runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("created_at", Timestamp, nullable=False, index=True),
    Column("prompt", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("visitor", Text, nullable=False, server_default=""),
)

# `backend` is the provider's name: `model` up to the slash, without the name of a server.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("model", Text, nullable=False, index=True),
    Column("backend", Text, nullable=False, index=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("started_at", Timestamp),
    Column("sent_at", Timestamp),
    Column("outcome", Text, index=True),
    Column("message", Text, nullable=False),
    Column("queued", Float),
    Column("load", Float),
    Column("first_preview", Float),
    Column("generate", Float),
    Column("download", Float),
    Column("total", Float),
    Column("cached", Boolean, nullable=False, server_default=false()),
    Column("amount", Amount),
    Column("low", Amount),
    Column("high", Amount),
    Column("basis", Text),
    Column("priced_on", Date),
    Column("source", Text, nullable=False),
    Column("honoured", Text, nullable=False),
    Column("parent", Text),
    Column("payer", Text, nullable=False, server_default="owner"),
)

pictures = Table(
    "pictures",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sha256", Text, nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("seed", BigInteger),
)
