"""Whether a job's picture came out of a cache, so that its seconds tell no speed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was kept before came out of no cache."""
    cached = sa.Column("cached", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("jobs", cached)


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "cached")
