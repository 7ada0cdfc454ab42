"""Sampling from the exported miniatures and scoring them."""
