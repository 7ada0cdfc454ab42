"""Requests have a list of control pictures instead of one or none."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_runs = sa.table("runs", sa.column("id", sa.Text), sa.column("request", sa.Text))


def upgrade() -> None:
    """Replace `control` by the list `controls` in the JSON of each request."""
    connection = op.get_bind()
    for id, text in connection.execute(sa.select(_runs.c.id, _runs.c.request)).all():
        fields = json.loads(text)
        control = fields.pop("control", None)
        fields["controls"] = [control] if control else []
        _put(connection, id, fields)


def downgrade() -> None:
    """Keep only the first control picture of each request."""
    connection = op.get_bind()
    for id, text in connection.execute(sa.select(_runs.c.id, _runs.c.request)).all():
        fields = json.loads(text)
        fields["control"] = next(iter(fields.pop("controls", ())), None)
        _put(connection, id, fields)


def _put(connection: sa.Connection, id: str, fields: object) -> None:
    text = json.dumps(fields, ensure_ascii=False)
    connection.execute(sa.update(_runs).where(_runs.c.id == id).values(request=text))
