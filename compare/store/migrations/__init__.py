"""Alembic migrations: one numbered revision for each change of `compare/store/tables.py`."""
