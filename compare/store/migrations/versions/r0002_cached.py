"""Column `cached`: a job's picture came from a cache, so its seconds do not measure speed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no earlier picture came from a cache."""
    cached = sa.Column("cached", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("jobs", cached)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("jobs", "cached")
