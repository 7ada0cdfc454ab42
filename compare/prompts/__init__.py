"""Prompts before a run: built from parts, expanded into variants, rewritten."""

MAX_PROMPT = 32_000
"""Characters that a prompt may have."""
