"""LoRA files and textual inversions: where they lie, and how a pipeline takes them."""
