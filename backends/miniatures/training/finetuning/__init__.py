"""Training that goes on from committed weights."""
