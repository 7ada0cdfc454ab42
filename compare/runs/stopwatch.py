"""Where a job's seconds went, told by the order of its events."""

import time
from collections.abc import Callable
from enum import Enum, auto

from backends.base import Receipt
from compare.records import Timing


class Part(Enum):
    """What a job's time is spent on."""

    QUEUED = auto()
    LOAD = auto()
    GENERATE = auto()


class Stopwatch:
    """Runs from the click, on the monotonic clock; at any moment one part is running."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._since = clock()
        self._work_began: float | None = None
        self._part = Part.QUEUED
        self._spent: dict[Part, float] = {}
        self._first_preview: float | None = None
        self._last_picture: float | None = None
        self._end: float | None = None

    def work(self) -> None:
        """The lane is ours."""
        self._work_began = self._clock()
        self.turn(Part.GENERATE)

    def turn(self, part: Part) -> None:
        """From now on, the time goes to `part`."""
        now = self._clock()
        self._spent[self._part] = self._spent.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    def preview(self) -> None:
        """A first look has come, or a later one."""
        if self._first_preview is None and self._work_began is not None:
            self._first_preview = self._clock() - self._work_began

    def picture(self) -> None:
        """A picture has come, and is about to be kept."""
        self.turn(Part.GENERATE)
        self._last_picture = self._spent[Part.GENERATE]

    def kept(self) -> None:
        """The last byte of a picture is on disk; the clock stops here unless more follow."""
        self._end = self._clock()
        # Keeping a picture is part of the total, but nobody's drawing.
        self._since = self._end

    def read(self, receipt: Receipt | None = None, *, ended: bool = False) -> Timing:
        """Return the times so far. What the backend measured itself goes before our own view."""
        now = self._clock()
        spent = dict(self._spent)
        spent[self._part] = spent.get(self._part, 0.0) + now - self._since
        receipt = receipt or Receipt()
        return Timing(
            queued=spent[Part.QUEUED],
            load=spent.get(Part.LOAD) if receipt.load is None else receipt.load,
            first_preview=self._first_preview,
            generate=self._drawing(receipt),
            download=receipt.download,
            total=(self._end or now) - self._began if ended else None,
            cached=receipt.cached,
        )

    def _drawing(self, receipt: Receipt) -> float | None:
        """The seconds of drawing; a picture out of a cache was not drawn."""
        if receipt.cached:
            return None
        if receipt.generate is not None or self._last_picture is None:
            return receipt.generate
        return max(0.0, self._last_picture - (receipt.download or 0.0))
