"""Prompts: cached embeddings, and what exceeds a tokenizer."""
