"""Columns `visitor` (who started a run) and `payer` (whose key pays for a job)."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; earlier runs have no known visitor and count as paid by the owner."""
    op.add_column("runs", sa.Column("visitor", sa.Text, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("payer", sa.Text, nullable=False, server_default="owner"))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("jobs", "payer")
    op.drop_column("runs", "visitor")
