"""The previews that a job has sent, kept in memory to see how its picture came about."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from backends.base import Preview

MOST_PREVIEWS: Final = 32
"""Previews of one job; of more, every second one is dropped."""
MOST_BYTES: Final = 32_000_000
"""Bytes of all previews; beyond it, those of the oldest jobs are dropped."""


class Replays:
    """The previews of the latest jobs, by job."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, list[Preview]] = OrderedDict()
        self._bytes = 0

    def add(self, job_id: str, preview: Preview) -> None:
        """Keep a preview of a job under way."""
        kept = self._jobs.setdefault(job_id, [])
        kept.append(preview)
        self._bytes += len(preview.data)
        if len(kept) > MOST_PREVIEWS:
            self._bytes -= sum(len(each.data) for each in kept[1::2])
            del kept[1::2]
        while self._bytes > MOST_BYTES and len(self._jobs) > 1:
            _, oldest = self._jobs.popitem(last=False)
            self._bytes -= sum(len(each.data) for each in oldest)

    def of(self, job_id: str) -> Sequence[Preview]:
        """Return the previews of a job in their order, none if they are no longer kept."""
        return tuple(self._jobs.get(job_id, ()))
