"""Follow a run from the store alone: one that has ended, or that another process works on."""

import asyncio
from collections.abc import AsyncGenerator

from compare.records import Job
from compare.store.store import Store

_POLL_SECONDS = 1.0


class UnknownRun(LookupError):
    """There is no such run, or no such job in it."""


async def follow(store: Store, run_id: str) -> AsyncGenerator[Job, None]:
    """Yield every job as it stands, then each change, until all have ended.

    Raises:
        UnknownRun: there is no such run.
    """
    seen: dict[str, Job] = {}
    while True:
        run = await store.run(run_id)
        if run is None:
            raise UnknownRun(f"There is no run {run_id}.")
        for job in run.jobs:
            if seen.get(job.id) != job:
                seen[job.id] = job
                yield job
        if all(job.outcome is not None for job in run.jobs):
            return
        await asyncio.sleep(_POLL_SECONDS)
