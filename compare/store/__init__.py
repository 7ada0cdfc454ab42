"""Runs on disk: database, picture files, recovery after a crash."""
