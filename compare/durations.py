"""What a job's times say: the headline, the small print, and which jobs can be compared by them.

Models are compared by the seconds of drawing. Where these are not known, the total stands in their
place, and a word says so. The page and the command line show the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backends.errors import Outcome
from compare.formatting import format_seconds
from compare.records import Job, Phase

DRAWING, IN_ALL, CACHED = "drawing", "in all", "from the cache"
_LEAST_SHOWN = 0.05
"""Seconds that would be rounded to 0.0 are left out of the small print."""
ACTIVITIES = {
    Phase.QUEUED: "waiting",
    Phase.LOADING: "loading",
    Phase.SENT: DRAWING,
    Phase.GENERATING: DRAWING,
}
"""What a job's time goes to in each phase that a stopwatch is shown for."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, and the word for what they measure; `str()` gives "8.4 s drawing".

    Those of a picture from a cache say nothing, so it gives "from the cache".
    """

    seconds: float
    word: str

    def __str__(self) -> str:
        return CACHED if self.word == CACHED else f"{format_seconds(self.seconds)} {self.word}"


def headline(job: Job) -> Duration | None:
    """Return the time that an ended job is shown with, None if nothing was measured."""
    timing = job.timing
    if timing.generate is not None and not timing.cached:
        return Duration(timing.generate, DRAWING)
    if timing.total is None:
        return None
    return Duration(timing.total, CACHED if timing.cached else IN_ALL)


def details(job: Job) -> str:
    """Return the other times of a job, such as "waited 136 s, load 0.4 s"; "" if there are none.

    The seconds of the phase that is under way are left out: they are the headline.
    """
    timing = job.timing
    if timing.cached:
        return ""
    parts = [("waited", timing.queued), ("load", timing.load), ("download", timing.download)]
    present = {"waiting": "waited", "loading": "load"}.get(ACTIVITIES.get(job.phase, ""))
    return ", ".join(
        f"{word} {format_seconds(seconds)}"
        for word, seconds in parts
        if seconds is not None and seconds >= _LEAST_SHOWN and word != present
    )


def running(job: Job, now: datetime) -> Duration | None:
    """Return the seconds of a job's present phase, None for one that has ended or cannot begin."""
    if job.outcome is not None or job.phase is Phase.WAITING:
        return None
    if job.since is not None:
        return Duration(_between(job.since, now), ACTIVITIES[job.phase])
    # In the lane. A job of another process is only known by what is stored of it.
    word = ACTIVITIES[job.phase] if job.phase is Phase.QUEUED else IN_ALL
    return Duration(_between(job.created_at, now), word)


def seconds_left(job: Job, now: datetime) -> float | None:
    """Return about how long a job that is drawing still takes, None if that cannot be said.

    From the second step on this follows from the steps that are done; else from how long the model
    usually takes here.
    """
    drawn = running(job, now)
    if drawn is None or drawn.word != DRAWING:
        return None
    if job.step is not None and job.step > 1 and job.steps:
        return max(0.0, drawn.seconds / job.step * (job.steps - job.step))
    if job.expected_seconds is None:
        return None
    return max(0.0, job.expected_seconds - drawn.seconds)


def format_left(seconds: float | None) -> str:
    """Return "about 5 s left"; "" if it is unknown or over."""
    return f"about {math.ceil(seconds)} s left" if seconds and seconds > 0 else ""


def comparable_seconds(job: Job, count: int) -> float | None:
    """Return the seconds of drawing if they can be compared with other jobs' of the same run.

    Not those of a second step, which starts from a picture; nor of a picture from a cache or one
    that a person brought; nor of a job that has fewer pictures than the `count` that was asked for.
    """
    complete = job.outcome is Outcome.DONE and len(job.pictures) >= count
    if not complete or job.parent is not None or job.timing.cached:
        return None
    return job.timing.generate


def both_steps(parent: Job, job: Job) -> Duration | None:
    """Return the time of a second step and its first together: of drawing if both are known."""
    return _sum([job.timing.generate for job in (parent, job)], DRAWING) or _sum(
        [job.timing.total for job in (parent, job)], IN_ALL
    )


def _sum(times: Sequence[float | None], word: str) -> Duration | None:
    known = [seconds for seconds in times if seconds is not None]
    return Duration(sum(known), word) if len(known) == len(times) else None


def _between(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
