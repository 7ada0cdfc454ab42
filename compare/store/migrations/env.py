"""Alembic's entry point: migrate over the connection that `compare/store/engine.py` passes."""

from alembic import context

from compare.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
