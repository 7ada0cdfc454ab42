"""Midjourney without a bot: nobody listens in Discord, the person brings the grid."""

import asyncio
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from backends.midjourney.matching import Job, News
from backends.midjourney.request import Command


class Ears(Protocol):
    """What hears of a command's pictures."""

    def waiting(self, command: Command) -> AbstractContextManager[Job]:
        """Let `command` wait as long as the block runs."""
        ...

    async def next(self, job: Job, seconds: float) -> News | None:
        """Return what is heard next of `job`; None when it is nothing for so long."""
        ...


class ByHand:
    """Hears of nothing but what the person brings."""

    @contextmanager
    def waiting(self, command: Command) -> Generator[Job]:
        """Let `command` wait as long as the block runs."""
        yield Job(command, 0)

    async def next(self, job: Job, seconds: float) -> News | None:
        """Return what the person brings; None when it is nothing for so long."""
        try:
            async with asyncio.timeout(seconds):
                return await job.news.get()
        except TimeoutError:
            return None
