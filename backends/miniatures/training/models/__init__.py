"""One module per model family; each has train, refine and what else it can."""
