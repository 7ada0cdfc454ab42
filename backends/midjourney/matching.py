"""Which message belongs to which command.

A message that is already known to belong to a job, by its id or by Midjourney's id of the job,
decides first: several jobs may share a seed. Else the seed decides, and only where a message names
none, the bare words of the prompt. What is older than a job, and what was derived from an earlier
grid, never belongs to it.

Time is told by message ids, which grow with it: the clocks of this machine and of Discord differ.
"""

import asyncio
import datetime
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from backends.midjourney.messages import Message, Update, UpdateKind, parse_message
from backends.midjourney.request import Command, plain_words

_FINAL_STAGE = 1000
_STAGES = {
    UpdateKind.QUEUED: 0,
    UpdateKind.STOPPED: _FINAL_STAGE,
    UpdateKind.DECLINED: _FINAL_STAGE,
    UpdateKind.GRID: _FINAL_STAGE,
}


@dataclass(frozen=True, slots=True)
class MessageRemoved:
    """Midjourney took its message away, as it does when it posts the grid as a new one."""


@dataclass(frozen=True, slots=True)
class UploadedGrid:
    """The person brought the grid."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """Nothing more will be heard of Discord."""

    error: Exception


JobEvent: TypeAlias = Update | MessageRemoved | UploadedGrid | ConnectionLost


class Job:
    """One command that waits for its pictures; `news` is what is heard of it, in order.

    `after` is a message id: nothing that is older belongs to it. `posts` are the ids of its
    messages, `number` Midjourney's own id, `began` when Midjourney took it, by Discord's clock.
    """

    def __init__(self, command: Command, after: int) -> None:
        self.command = command
        self.after_id = after
        self.events: asyncio.Queue[JobEvent] = asyncio.Queue()
        self.message_ids: set[int] = set()
        self.midjourney_id: str | None = None
        self.was_removed = False
        self.started_at: datetime.datetime | None = None
        self._stage = -1

    @property
    def is_started(self) -> bool:
        """Whether Midjourney has taken the command."""
        return self._stage >= 0

    def add_update(self, sighting: Update) -> None:
        """Hear of it; the same or something older, as a look back brings it, is no news."""
        self.message_ids.add(sighting.message.id)
        self.midjourney_id = self.midjourney_id or sighting.job_id
        self.started_at = self.started_at or sighting.message.created_at
        stage = _STAGES.get(sighting.kind, sighting.percent + 1)
        if stage > self._stage:
            self._stage = stage
            self.events.put_nowait(sighting)

    def submit_grid(self, data: bytes) -> None:
        """Take the grid from the person."""
        self._stage = _FINAL_STAGE
        self.events.put_nowait(UploadedGrid(data))

    def handle_removed(self, post: int) -> None:
        """Hear that one of its messages was removed."""
        if post in self.message_ids and self._stage < _FINAL_STAGE:
            self.was_removed = True
            self.events.put_nowait(MessageRemoved())


class JobMatcher:
    """All jobs that wait in one channel; `newest` is the latest message that was seen there."""

    def __init__(self) -> None:
        self.newest_message_id = 0
        self.jobs: list[Job] = []
        self._grid_message_ids: set[int] = set()

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Let `command` wait as long as the block runs."""
        job = Job(command, self.newest_message_id)
        self.jobs.append(job)
        try:
            yield job
        finally:
            self.jobs.remove(job)

    def handle_message(self, post: Message) -> None:
        """Give a new or changed message to the job that it belongs to."""
        sighting = parse_message(post)
        job = self._find_job(sighting) if sighting.kind is not UpdateKind.OTHER else None
        if sighting.kind is UpdateKind.GRID:
            self._grid_message_ids.add(post.id)
        if job is not None:
            job.add_update(sighting)

    def handle_removed(self, post: int) -> None:
        """Take note that a message was deleted."""
        for job in self.jobs:
            job.handle_removed(post)

    def fail_all(self, error: Exception) -> None:
        """Tell every job that nothing more will be heard."""
        for job in self.jobs:
            job.events.put_nowait(ConnectionLost(error))

    def _find_job(self, sighting: Update) -> Job | None:
        found = [job for job in self.jobs if self._is_candidate(sighting, job)]
        for job in found:
            if sighting.message.id in job.message_ids or (
                sighting.job_id and sighting.job_id == job.midjourney_id
            ):
                return job
        found = [job for job in found if _is_match(sighting, job)]
        return min(found, key=lambda job: _mismatch(sighting, job), default=None)

    def _is_candidate(self, sighting: Update, job: Job) -> bool:
        parent = sighting.message.parent_id
        later = parent is None or (parent > job.after_id and parent not in self._grid_message_ids)
        return not sighting.is_derived and sighting.message.id > job.after_id and later


def _is_match(sighting: Update, job: Job) -> bool:
    if job.message_ids and sighting.kind is UpdateKind.QUEUED:
        return False  # the command was pasted once more
    if job.midjourney_id and sighting.job_id and job.midjourney_id != sighting.job_id:
        return False
    if sighting.seed is not None:
        return sighting.seed == job.command.seed
    return _has_same_words(sighting, job)


def _mismatch(sighting: Update, job: Job) -> tuple[bool, bool, bool]:
    """How unlike they are, for jobs that share a seed; of equals the oldest is taken."""
    version = job.command.version in sighting.message.content
    return (not _has_same_words(sighting, job), not version, not job.message_ids)


def _has_same_words(sighting: Update, job: Job) -> bool:
    theirs = plain_words(sighting.prompt or "")
    return theirs != "" and theirs == plain_words(job.command.prompt)
