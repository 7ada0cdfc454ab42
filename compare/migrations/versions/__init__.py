"""The revisions, oldest first; `compare/schema.py` lists them."""
