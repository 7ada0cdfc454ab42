"""Measure the times of a job from the order of its events."""

import time
from collections.abc import Callable
from enum import Enum, auto

from backends.base import Receipt
from compare.records import Timing


class Activity(Enum):
    """An activity that a job spends time on."""

    QUEUED = auto()
    LOAD = auto()
    GENERATE = auto()


class Stopwatch:
    """Measures from its creation on the monotonic clock; one activity runs at any moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._since = clock()
        self._activity = Activity.QUEUED
        self._spent: dict[Activity, float] = {}
        self._first_preview: float | None = None
        self._before_turn = 0.0
        self._is_sent = False
        self._is_turn_unknown = False
        self._last_picture: float | None = None
        self._end: float | None = None

    def start_work(self) -> None:
        """Record that the job has got its slot in the lane."""
        self.switch_to(Activity.GENERATE)

    def switch_to(self, activity: Activity) -> None:
        """Attribute the time from now on to `activity`.

        The job's turn begins where it ceases to wait: for its lane, in a server's queue, for a
        person. The first preview is counted from there.
        """
        now = self._clock()
        if self._activity is Activity.QUEUED and activity is not Activity.QUEUED:
            self._before_turn = self._spent.get(Activity.GENERATE, 0.0)
        self._spent[self._activity] = self._spent.get(self._activity, 0.0) + now - self._since
        self._activity, self._since = activity, now

    def record_sending(self) -> None:
        """Record that the request leaves now; drawing begins.

        What was attributed to drawing until the first request was preparation, such as importing
        a client library: it is loading, and not part of the model's time.
        """
        self.switch_to(Activity.GENERATE)
        if not self._is_sent:
            self._is_sent = True
            prepared = self._spent.pop(Activity.GENERATE, 0.0)
            self._before_turn = 0.0
            self._spent[Activity.LOAD] = self._spent.get(Activity.LOAD, 0.0) + prepared

    def record_preview(self) -> None:
        """Record a preview; only the first one counts, by the seconds of drawing before it."""
        if self._first_preview is None and self._activity is Activity.GENERATE:
            self._first_preview = self.in_activity() - self._before_turn

    def in_activity(self) -> float:
        """Return the seconds spent so far on what the job does now."""
        return self._spent.get(self._activity, 0.0) + self._clock() - self._since

    def record_picture(self) -> None:
        """Record that a picture has arrived, before it is stored.

        If the job's turn was not seen to begin, it is unknown how much of the wait was generation.
        """
        self._is_turn_unknown |= self._activity is Activity.QUEUED
        self.switch_to(Activity.GENERATE)
        if not self._is_turn_unknown:
            self._last_picture = self._spent[Activity.GENERATE]

    def record_stored(self) -> None:
        """Record that a picture is on disk; the total ends here unless more pictures follow."""
        self._end = self._clock()
        # Storing a picture is part of the total, but not of the generation.
        self._since = self._end

    def read(self, receipt: Receipt | None = None, *, ended: bool = False) -> Timing:
        """Return the times so far; times that the backend measured take precedence."""
        now = self._clock()
        spent = dict(self._spent)
        spent[self._activity] = spent.get(self._activity, 0.0) + now - self._since
        receipt = receipt or Receipt()
        return Timing(
            queued=spent[Activity.QUEUED],
            load=spent.get(Activity.LOAD) if receipt.load is None else receipt.load,
            first_preview=self._first_preview,
            generate=self._generate_seconds(receipt),
            download=receipt.download,
            total=(self._end or now) - self._began if ended else None,
            cached=receipt.cached,
        )

    def _generate_seconds(self, receipt: Receipt) -> float | None:
        """Return the seconds of generation, None for a picture from a cache."""
        if receipt.cached:
            return None
        if receipt.generate is not None or self._last_picture is None:
            return receipt.generate
        return max(0.0, self._last_picture - (receipt.download or 0.0))
