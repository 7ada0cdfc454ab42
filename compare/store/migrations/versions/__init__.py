"""The revisions, oldest first; `compare/store/engine.py` lists them."""
