"""A request has any number of control pictures; it used to have one or none."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_runs = sa.table("runs", sa.column("id", sa.Text), sa.column("request", sa.Text))


def upgrade() -> None:
    """Make a list of what each kept request was steered by."""
    connection = op.get_bind()
    for id, text in connection.execute(sa.select(_runs.c.id, _runs.c.request)).all():
        fields = json.loads(text)
        control = fields.pop("control", None)
        fields["controls"] = [control] if control else []
        _put(connection, id, fields)


def downgrade() -> None:
    """Leave each request the first of its control pictures."""
    connection = op.get_bind()
    for id, text in connection.execute(sa.select(_runs.c.id, _runs.c.request)).all():
        fields = json.loads(text)
        fields["control"] = next(iter(fields.pop("controls", ())), None)
        _put(connection, id, fields)


def _put(connection: sa.Connection, id: str, fields: object) -> None:
    text = json.dumps(fields, ensure_ascii=False)
    connection.execute(sa.update(_runs).where(_runs.c.id == id).values(request=text))
