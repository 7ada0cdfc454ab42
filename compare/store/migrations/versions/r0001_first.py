"""The first tables: runs, their jobs, and the pictures of the jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
    )
    op.create_index("ix_runs_created_at", "runs", ["created_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text),
        sa.Column("sent_at", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("queued", sa.Float),
        sa.Column("load", sa.Float),
        sa.Column("first_preview", sa.Float),
        sa.Column("generate", sa.Float),
        sa.Column("download", sa.Float),
        sa.Column("total", sa.Float),
        sa.Column("amount", sa.Text),
        sa.Column("low", sa.Text),
        sa.Column("high", sa.Text),
        sa.Column("basis", sa.Text),
        sa.Column("priced_on", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("honoured", sa.Text, nullable=False),
    )
    for column in ("run_id", "model", "outcome"):
        op.create_index(f"ix_jobs_{column}", "jobs", [column])
    op.create_table(
        "pictures",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger),
    )
    op.create_index("ix_pictures_sha256", "pictures", ["sha256"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("pictures", "jobs", "runs"):
        op.drop_table(table)
