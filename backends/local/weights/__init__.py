"""Weight files: where they lie, their headers, whether they are sound."""
