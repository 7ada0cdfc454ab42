"""Measure the times of a job from the order of its events."""

import time
from collections.abc import Callable, Mapping
from enum import Enum, auto

from backends.base import Receipt
from compare.records import Timing


class Activity(Enum):
    """An activity that a job spends time on."""

    QUEUED = auto()
    LOAD = auto()
    GENERATE = auto()


class Stopwatch:
    """Measures from its creation on the monotonic clock; one activity runs at any moment.

    A job that has its slot prepares first: it imports libraries, reads pictures, looks up its
    provider. That counts as load, as the loading of weights does, and never as generation.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._since = clock()
        self._is_preparing = False
        self._is_drawing_seen = False
        self._preparation = 0.0
        self._activity = Activity.QUEUED
        self._spent: dict[Activity, float] = {}
        self._first_preview: float | None = None
        self._is_turn_unknown = False
        self._last_picture: float | None = None
        self._end: float | None = None

    def start_work(self) -> None:
        """Record that the job has got its slot in the lane and prepares itself."""
        self.switch_to(Activity.LOAD)
        self._is_preparing = True

    def switch_to(self, activity: Activity, *, began_before: bool = False) -> None:
        """Attribute the time from now on to `activity`.

        `began_before`: what is reported shows that the activity has gone on for some time, such as
        a step that is done. A job that has reported nothing before spent all its time on that.
        A request that comes into a queue after it was sent has not been drawn until then.
        """
        if began_before and self._is_preparing:
            self._activity = activity
        now = self._clock()
        self._spent[self._activity] = self._spent.get(self._activity, 0.0) + now - self._since
        if self._is_preparing:
            self._preparation = self._spent.get(Activity.LOAD, 0.0)
        self._activity, self._since, self._is_preparing = activity, now, False
        self._is_drawing_seen |= began_before
        if activity is Activity.QUEUED and not self._is_drawing_seen:
            self._spent[activity] += self._spent.pop(Activity.GENERATE, 0.0)

    def seconds_so_far(self) -> float:
        """Return the seconds that the present activity has taken until now."""
        return self._spent.get(self._activity, 0.0) + self._clock() - self._since

    def record_preview(self) -> None:
        """Record a preview, while the job generates; only the first one counts."""
        if self._first_preview is None:
            self._first_preview = self.seconds_so_far()

    def record_picture(self) -> None:
        """Record that a picture has arrived, before it is stored.

        If generation was not seen to begin, it is unknown how much of the wait it was.
        """
        began = self._is_preparing or self._activity is Activity.GENERATE
        self._is_turn_unknown |= not began
        self.switch_to(Activity.GENERATE, began_before=True)
        if not self._is_turn_unknown:
            self._last_picture = self._spent[Activity.GENERATE]

    def record_by_hand(self) -> None:
        """Record that a person brings the picture: when it was finished is not known."""
        self._is_turn_unknown = True

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
            queued=spent[Activity.QUEUED] + (receipt.queued or 0.0),
            load=self._load_seconds(spent, receipt),
            first_preview=self._first_preview,
            generate=self._generate_seconds(receipt),
            download=receipt.download,
            total=(self._end or now) - self._began if ended else None,
            cached=receipt.cached,
        )

    def _load_seconds(self, spent: Mapping[Activity, float], receipt: Receipt) -> float | None:
        """Return the seconds of preparation and loading, None before the job's turn."""
        if receipt.load is None:
            return spent.get(Activity.LOAD)
        return self._preparation + receipt.load

    def _generate_seconds(self, receipt: Receipt) -> float | None:
        """Return the seconds of generation, None for a picture from a cache."""
        if receipt.cached:
            return None
        if receipt.generate is not None or self._last_picture is None:
            return receipt.generate
        return max(0.0, self._last_picture - (receipt.download or 0.0))
