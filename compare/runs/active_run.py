"""A running run: the states of its jobs, their tasks, and the broadcast of changes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from compare.records import Job, Run
from compare.runs.broadcast import Broadcast
from compare.runs.job_task import JobTask


class ActiveRun:
    """A run with running jobs. Each job joins and leaves it; the last to leave closes it.

    `batch` are the ids of the runs that were started together with it, itself included; it is empty
    for a run that is active again because a job is repeated.
    """

    def __init__(self, run: Run, batch: Sequence[str] = ()) -> None:
        self._run = run
        self.batch = tuple(batch)
        self._job_count = len(run.jobs)
        self._active_jobs = 0
        self.spec = run.spec
        self.tasks: list[JobTask] = []
        self.updates: Broadcast[str, Job] = Broadcast()
        for job in run.jobs:
            self.updates.publish(job.id, job)

    @property
    def run(self) -> Run:
        """The run in its present state."""
        return replace(self._run, jobs=self.updates.items)

    @property
    def stored(self) -> bool:
        """Whether the outcome of every job is in the store."""
        return all(task.stored for task in self.tasks)

    def publish(self, job: Job, immediate: bool) -> None:
        """Broadcast a job's new state: at once, or within the broadcast's interval."""
        publish = self.updates.publish if immediate else self.updates.publish_soon
        publish(job.id, job)

    def reserve_positions(self, count: int) -> int:
        """Reserve `count` consecutive positions for new jobs, and return the first."""
        self._job_count += count
        return self._job_count - count

    async def wait_for(self, job_id: str) -> Job:
        """Wait until a job has ended, and return it."""
        tasks = [each.task for each in self.tasks if each.job.id == job_id and each.task]
        if tasks:
            await asyncio.wait(tasks)
        return next(job for job in self.run.jobs if job.id == job_id)

    def join(self) -> None:
        """Count one more running job."""
        self._active_jobs += 1

    def leave(self) -> None:
        """Count one running job less, and close the broadcast after the last one."""
        self._active_jobs -= 1
        if self._active_jobs == 0:
            self.updates.close()
