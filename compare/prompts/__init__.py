"""Preparation of prompts: building from parts, expansion of variants, rewriting."""

MAX_PROMPT = 32_000
"""Characters that a prompt may have."""
