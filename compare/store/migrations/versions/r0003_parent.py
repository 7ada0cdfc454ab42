"""Column `parent`: the id of the first step's job, if a job is a second step."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no earlier job has a parent."""
    op.add_column("jobs", sa.Column("parent", sa.Text))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("jobs", "parent")
