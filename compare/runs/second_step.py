"""The second step of a run: another model starts from the picture of the first one. Pure.

Both steps are jobs of one run from its beginning; the second names the first as its parent and
waits for it. Its request is the run's own request, changed as `RunSpec.second_step` says.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backends.base import Model, Request
from backends.errors import BackendError, Outcome
from compare.catalogue.availability import Availability
from compare.durations import Duration, both_steps
from compare.pricing import combine
from compare.records import Cost, Job, Phase, RunSpec


class FirstStepFailed(BackendError):
    """The first step left no picture to start from."""

    outcome = Outcome.CANCELLED
    charged = False


@dataclass(frozen=True, slots=True)
class FirstStep:
    """The first step, as seen by the second one that waits for it.

    `wait` returns the first step's job once it has ended. `read_picture` reads a stored picture
    by its SHA-256, and returns None if it is gone. `even_if_stopped` accepts any picture that
    exists, even if the job was not completed.
    """

    label: str
    wait: Callable[[], Awaitable[Job]]
    read_picture: Callable[[str], Awaitable[bytes | None]]
    even_if_stopped: bool = False

    async def request_with_picture(self, request: Request) -> Request:
        """Wait for the first step, and return `request` with its first picture.

        Raises:
            FirstStepFailed: there is no picture.
        """
        job = await self.wait()
        if not job.pictures or not (self.even_if_stopped or job.outcome is Outcome.DONE):
            raise FirstStepFailed(f"Not begun: {self.label} made no picture to go on from.")
        image = await self.read_picture(job.pictures[0].sha256)
        if image is None:
            raise FirstStepFailed(f"Not begun: the picture of {self.label} is no longer on disk.")
        return replace(request, image=image)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job to be created; with a `parent` it is a second step."""

    run_id: str
    position: int
    model: Model
    parent: str | None = None

    @property
    def id(self) -> str:
        """The id of the job."""
        return f"{self.run_id}-{self.position}"


def plan_jobs(
    run_id: str,
    models: Sequence[Model],
    second: Model | None,
    *,
    first: int = 0,
    parent: str | None = None,
) -> Iterator[PlannedJob]:
    """Yield a job for each model, each followed by one of `second`; count from `first`."""
    position = first
    for model in models:
        planned = PlannedJob(run_id, position, model, parent)
        yield planned
        position += 1
        if second is not None:
            yield PlannedJob(run_id, position, second, planned.id)
            position += 1


def new_job(
    planned: PlannedJob,
    spec: RunSpec,
    now: datetime,
    availability: Availability,
) -> Job:
    """Return a planned job in its initial state."""
    model, first = planned.model, planned.parent is None
    request = spec.request if first else spec.second_request()
    # What was measured of first steps says nothing about a second one.
    seconds = availability.typical_seconds(model.id, request.count) if first else None
    return Job(
        id=planned.id,
        run_id=planned.run_id,
        model=model.id,
        created_at=now,
        parent=planned.parent,
        phase=Phase.QUEUED if first else Phase.WAITING,
        cost=availability.estimate(model, request),
        payer=availability.payer(model),
        expected_seconds=seconds,
    )


def chain_totals(parent: Job, job: Job) -> tuple[Duration | None, Cost]:
    """Return the time and the cost of both steps together; None if unknown."""
    return both_steps(parent, job), combine((parent.cost, job.cost))


def parent_of(job: Job, jobs: Sequence[Job]) -> Job | None:
    """Return the first step of a second step, None for a first step."""
    return next((other for other in jobs if other.id == job.parent), None)
