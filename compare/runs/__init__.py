"""Execution of runs: jobs, lanes, live updates, second steps, outcomes."""
