"""A run that is under way: how its jobs stand, who works on them, who wants to know."""

import asyncio
from dataclasses import replace

from compare.records import Job, Run
from compare.runs.broadcast import Broadcast
from compare.runs.job_task import JobTask


class ActiveRun:
    """A run with jobs under way; each of ours joins it and leaves it, the last closes it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._places = len(run.jobs)
        self._busy = 0
        self.spec = run.spec
        self.tasks: list[JobTask] = []
        self.updates: Broadcast[str, Job] = Broadcast()
        for job in run.jobs:
            self.updates.publish(job.id, job)

    @property
    def run(self) -> Run:
        """The run as it stands now."""
        return replace(self._run, jobs=self.updates.items)

    @property
    def kept(self) -> bool:
        """Whether the store knows how every job ended."""
        return all(work.kept for work in self.tasks)

    def publish(self, job: Job, immediate: bool) -> None:
        """Pass a job's news on."""
        publish = self.updates.publish if immediate else self.updates.publish_soon
        publish(job.id, job)

    def take_places(self, count: int) -> int:
        """Return the first position of so many more jobs; nobody else gets them."""
        self._places += count
        return self._places - count

    async def ended(self, job_id: str) -> Job:
        """Return a job of the run when it has ended."""
        tasks = [work.task for work in self.tasks if work.job.id == job_id and work.task]
        if tasks:
            await asyncio.wait(tasks)
        return next(job for job in self.run.jobs if job.id == job_id)

    def join(self) -> None:
        """One more job keeps the run under way."""
        self._busy += 1

    def leave(self) -> None:
        """One job less."""
        self._busy -= 1
        if self._busy == 0:
            self.updates.close()
