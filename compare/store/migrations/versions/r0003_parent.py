"""A job may be the second step of another: `parent` names that one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the jobs that are there have no parent."""
    op.add_column("jobs", sa.Column("parent", sa.Text))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "parent")
