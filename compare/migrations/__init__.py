"""The database's history, one numbered revision for each change of `compare/tables.py`."""
