"""Prompts before a run: built from parts, expanded into variants, rewritten."""
