"""What one visitor of a public address may ask for; on this machine alone there is no limit."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from compare.records import RunSpec
from compare.settings import Settings


class OverLimit(ValueError):
    """A visitor asks for more than one visitor may have; `str(error)` says what and how much."""


def check_specs(settings: Settings, specs: Sequence[RunSpec]) -> None:
    """Check the steps and the pictures of each job.

    Raises:
        OverLimit: a visitor asks for too many.
    """
    if not settings.public:
        return
    for spec in specs:
        steps, most = spec.request.num_inference_steps or 0, settings.visitor_steps
        if steps > most:
            raise OverLimit(f"At this public address a picture has at most {most} steps.")
        if spec.request.count > (most := settings.visitor_pictures):
            raise OverLimit(f"At this public address a model draws at most {most} pictures a run.")


class Places:
    """The places of visitors' jobs; `running` returns how many jobs of a visitor have not ended.

    A place is taken before the job is stored, so that clicks at the same moment cannot pass the
    limit together.
    """

    def __init__(self, running: Callable[[str], int]) -> None:
        self._running = running
        self._starting: Counter[str] = Counter()

    @contextmanager
    def reserve(self, settings: Settings, visitor: str, jobs: int) -> Generator[None]:
        """Hold places for the jobs while they are started.

        Raises:
            OverLimit: the visitor would have too many jobs under way.
        """
        most = settings.visitor_jobs
        under_way = self._running(visitor) + self._starting[visitor]
        if settings.public and under_way + jobs > most:
            raise OverLimit(
                f"One visitor can have {most} pictures under way at this public address; you have "
                f"{under_way} and ask for {jobs} more. Wait for some, or choose fewer."
            )
        self._starting[visitor] += jobs
        try:
            yield
        finally:
            self._starting[visitor] -= jobs
            if not self._starting[visitor]:
                del self._starting[visitor]
