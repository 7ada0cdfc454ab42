"""Runs under way: jobs, lanes, live updates, second steps, outcomes."""
