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

from backends.midjourney.messages import Kind, Message, Update, parse_message
from backends.midjourney.request import Command, words

_LAST = 1000
_STAGES = {Kind.QUEUED: 0, Kind.STOPPED: _LAST, Kind.DECLINED: _LAST, Kind.GRID: _LAST}


@dataclass(frozen=True, slots=True)
class Removed:
    """Midjourney took its message away, as it does when it posts the grid as a new one."""


@dataclass(frozen=True, slots=True)
class UploadedGrid:
    """The person brought the grid."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing more will be heard of Discord."""

    error: Exception


News: TypeAlias = Update | Removed | UploadedGrid | Lost


class Job:
    """One command that waits for its pictures; `news` is what is heard of it, in order.

    `after` is a message id: nothing that is older belongs to it. `posts` are the ids of its
    messages, `number` Midjourney's own id, `began` when Midjourney took it, by Discord's clock.
    """

    def __init__(self, command: Command, after: int) -> None:
        self.command = command
        self.after = after
        self.news: asyncio.Queue[News] = asyncio.Queue()
        self.posts: set[int] = set()
        self.number: str | None = None
        self.removed = False
        self.began: datetime.datetime | None = None
        self._stage = -1

    @property
    def seen(self) -> bool:
        """Whether Midjourney has taken the command."""
        return self._stage >= 0

    def take(self, sighting: Update) -> None:
        """Hear of it; the same or something older, as a look back brings it, is no news."""
        self.posts.add(sighting.post.id)
        self.number = self.number or sighting.job
        self.began = self.began or sighting.post.created
        stage = _STAGES.get(sighting.kind, sighting.percent + 1)
        if stage > self._stage:
            self._stage = stage
            self.news.put_nowait(sighting)

    def hand(self, data: bytes) -> None:
        """Take the grid from the person."""
        self._stage = _LAST
        self.news.put_nowait(UploadedGrid(data))

    def lose(self, post: int) -> None:
        """Hear that one of its messages was removed."""
        if post in self.posts and self._stage < _LAST:
            self.removed = True
            self.news.put_nowait(Removed())


class JobMatcher:
    """All jobs that wait in one channel; `newest` is the latest message that was seen there."""

    def __init__(self) -> None:
        self.newest = 0
        self.jobs: list[Job] = []
        self._grids: set[int] = set()

    @contextmanager
    def waiting(self, command: Command) -> Generator[Job]:
        """Let `command` wait as long as the block runs."""
        job = Job(command, self.newest)
        self.jobs.append(job)
        try:
            yield job
        finally:
            self.jobs.remove(job)

    def place(self, post: Message) -> None:
        """Give a new or changed message to the job that it belongs to."""
        sighting = parse_message(post)
        job = self._owner(sighting) if sighting.kind is not Kind.OTHER else None
        if sighting.kind is Kind.GRID:
            self._grids.add(post.id)
        if job is not None:
            job.take(sighting)

    def remove(self, post: int) -> None:
        """Take note that a message was deleted."""
        for job in self.jobs:
            job.lose(post)

    def lose(self, error: Exception) -> None:
        """Tell every job that nothing more will be heard."""
        for job in self.jobs:
            job.news.put_nowait(Lost(error))

    def _owner(self, sighting: Update) -> Job | None:
        found = [job for job in self.jobs if self._may_be(sighting, job)]
        for job in found:
            if sighting.post.id in job.posts or (sighting.job and sighting.job == job.number):
                return job
        found = [job for job in found if _fits(sighting, job)]
        return min(found, key=lambda job: _distance(sighting, job), default=None)

    def _may_be(self, sighting: Update, job: Job) -> bool:
        parent = sighting.post.parent
        later = parent is None or (parent > job.after and parent not in self._grids)
        return not sighting.derived and sighting.post.id > job.after and later


def _fits(sighting: Update, job: Job) -> bool:
    if job.posts and sighting.kind is Kind.QUEUED:
        return False  # the command was pasted once more
    if job.number and sighting.job and job.number != sighting.job:
        return False
    if sighting.seed is not None:
        return sighting.seed == job.command.seed
    return _same_words(sighting, job)


def _distance(sighting: Update, job: Job) -> tuple[bool, bool, bool]:
    """How unlike they are, for jobs that share a seed; of equals the oldest is taken."""
    version = job.command.version in sighting.post.content
    return (not _same_words(sighting, job), not version, not job.posts)


def _same_words(sighting: Update, job: Job) -> bool:
    theirs = words(sighting.prompt or "")
    return theirs != "" and theirs == words(job.command.prompt)
