"""The tables of the store. `migrations/` makes them; a test holds the two together.

Amounts are decimal texts, never floats. Times are UTC in ISO 8601 and sort as text. Mappings are
JSON. The bytes of pictures are files beside the database, never in it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    false,
)

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Text, nullable=False, index=True),
    Column("prompt", Text, nullable=False),
    Column("request", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("model", Text, nullable=False, index=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("started_at", Text),
    Column("sent_at", Text),
    Column("outcome", Text, index=True),
    Column("message", Text, nullable=False),
    Column("queued", Float),
    Column("load", Float),
    Column("first_preview", Float),
    Column("generate", Float),
    Column("download", Float),
    Column("total", Float),
    Column("cached", Boolean, nullable=False, server_default=false()),
    Column("amount", Text),
    Column("low", Text),
    Column("high", Text),
    Column("basis", Text),
    Column("priced_on", Text),
    Column("source", Text, nullable=False),
    Column("honoured", Text, nullable=False),
    Column("parent", Text),
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
