"""Match Midjourney's messages to the commands that wait for them.

A message that is known to belong to a job, by its own id or by Midjourney's id of the job, is
matched first: several jobs may share a seed. Otherwise the seed decides, and the words of the
prompt only where a message names no seed. A message that is older than a job, or derived from an
earlier grid, never matches it.

Messages are ordered by their ids, which grow with time: the clocks of this machine and of Discord
differ.
"""

import asyncio
import datetime
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from backends.midjourney.messages import Message, Update, UpdateKind, parse_message
from backends.midjourney.request import Command, plain_words

MAX_MESSAGES = 1000
"""Messages of a job, and grids of the channel, whose ids are kept: those of some days."""

_FINAL_STAGE = 1000
_STAGES = {
    UpdateKind.QUEUED: 0,
    UpdateKind.STOPPED: _FINAL_STAGE,
    UpdateKind.DECLINED: _FINAL_STAGE,
    UpdateKind.GRID: _FINAL_STAGE,
}
"""The stage of a job by the kind of its update; a percentage in progress counts from 1."""


@dataclass(frozen=True, slots=True)
class MessageRemoved:
    """Midjourney deleted its message, as it does when it posts the grid as a new one."""


@dataclass(frozen=True, slots=True)
class UploadedGrid:
    """The grid, uploaded by a person."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection to Discord has ended: no more events will come."""

    error: Exception


JobEvent: TypeAlias = Update | MessageRemoved | UploadedGrid | ConnectionLost


class Job:
    """One command that waits for its pictures; `events` is the queue of its events.

    `after_id` is a message id: older messages never match. `message_ids` are the ids of its
    messages, `midjourney_id` is Midjourney's own id of the job, `started_at` the time of the first
    message by Discord's clock.
    """

    def __init__(self, command: Command, after_id: int) -> None:
        self.command = command
        self.after_id = after_id
        self.events: asyncio.Queue[JobEvent] = asyncio.Queue()
        self.message_ids: set[int] = set()
        self.midjourney_id: str | None = None
        self.was_removed = False
        self.started_at: datetime.datetime | None = None
        self._stage = -1

    @property
    def is_started(self) -> bool:
        """True once Midjourney has posted a message about the command."""
        return self._stage >= 0

    def add_update(self, update: Update) -> None:
        """Add an update; one that is no further than the last is dropped.

        Messages read from the history may repeat earlier ones.
        """
        if len(self.message_ids) < MAX_MESSAGES:
            self.message_ids.add(update.message.id)
        self.midjourney_id = self.midjourney_id or update.job_id
        self.started_at = self.started_at or update.message.created_at
        stage = _STAGES.get(update.kind, update.percent + 1)
        if stage > self._stage:
            self._stage = stage
            self.events.put_nowait(update)

    def submit_grid(self, data: bytes) -> None:
        """Add the grid that a person uploads."""
        self._stage = _FINAL_STAGE
        self.events.put_nowait(UploadedGrid(data))

    def handle_removed(self, message_id: int) -> None:
        """Handle the deletion of a message, which may be one of the job's."""
        if message_id in self.message_ids and self._stage < _FINAL_STAGE and not self.was_removed:
            self.was_removed = True
            self.events.put_nowait(MessageRemoved())


class JobMatcher:
    """The jobs that wait in one channel; `newest_message_id` is the newest message seen there."""

    def __init__(self) -> None:
        self.newest_message_id = 0
        self.jobs: list[Job] = []
        self._grid_message_ids: deque[int] = deque(maxlen=MAX_MESSAGES)

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Register `command` as a job until the block ends."""
        job = Job(command, self.newest_message_id)
        self.jobs.append(job)
        try:
            yield job
        finally:
            self.jobs.remove(job)

    def handle_message(self, message: Message) -> None:
        """Add a new or edited message to the job that it belongs to."""
        update = parse_message(message)
        job = self._find_job(update) if update.kind is not UpdateKind.OTHER else None
        if update.kind is UpdateKind.GRID:
            self._grid_message_ids.append(message.id)
        if job is not None:
            job.add_update(update)

    def handle_removed(self, message_id: int) -> None:
        """Report the deletion of a message to all jobs."""
        for job in self.jobs:
            job.handle_removed(message_id)

    def fail_all(self, error: Exception) -> None:
        """Report to every job that the connection is lost."""
        for job in self.jobs:
            job.events.put_nowait(ConnectionLost(error))

    def _find_job(self, update: Update) -> Job | None:
        candidates = [job for job in self.jobs if self._is_candidate(update, job)]
        for job in candidates:
            if update.message.id in job.message_ids or (
                update.job_id and update.job_id == job.midjourney_id
            ):
                return job
        candidates = [job for job in candidates if _is_match(update, job)]
        return min(candidates, key=lambda job: _mismatch(update, job), default=None)

    def _is_candidate(self, update: Update, job: Job) -> bool:
        parent = update.message.parent_id
        newer = parent is None or (parent > job.after_id and parent not in self._grid_message_ids)
        return not update.is_derived and update.message.id > job.after_id and newer


def _is_match(update: Update, job: Job) -> bool:
    if job.message_ids and update.kind is UpdateKind.QUEUED:
        return False  # the command was pasted a second time
    if job.midjourney_id and update.job_id and job.midjourney_id != update.job_id:
        return False
    if update.seed is not None:
        return update.seed == job.command.seed
    return _has_same_words(update, job)


def _mismatch(update: Update, job: Job) -> tuple[bool, bool, bool]:
    """Return how a job differs from an update of the same seed; of equals the oldest is taken."""
    version = job.command.version in update.message.content
    return (not _has_same_words(update, job), not version, not job.message_ids)


def _has_same_words(update: Update, job: Job) -> bool:
    prompt_words = plain_words(update.prompt or "")
    return prompt_words != "" and prompt_words == plain_words(job.command.prompt)
