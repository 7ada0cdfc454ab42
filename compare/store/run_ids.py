"""Runs that were started together, one for each variant of a prompt.

Their ids say so: `8f3a…c1v1`, `8f3a…c1v2` share all but the number at their end. So whoever has
the link of one finds the others, and a run that was started alone is simply a batch of one.
"""

import re
import secrets

_IN_A_BATCH = re.compile(r"([0-9a-f]{16}v)\d+")


def new_ids(number: int) -> list[str]:
    """Return the ids of `number` new runs."""
    token = secrets.token_hex(8)
    return [token] if number == 1 else [f"{token}v{each}" for each in range(1, number + 1)]


def beginning(run_id: str) -> str | None:
    """Return what the ids of a run's whole batch begin with, None for a run on its own."""
    match = _IN_A_BATCH.fullmatch(run_id)
    return match[1] if match else None
