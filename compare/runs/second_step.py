"""The second step of a run: another model goes on from the picture that the first one drew. Pure.

Both steps are jobs of one run, there from its beginning; the second names the first as its parent
and waits for it. Its request is the run's own request, changed as `RunSpec.second_step` says.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backends.base import Model, Request
from backends.errors import BackendError, Outcome
from compare.pricing import combine
from compare.records import Cost, Job, Phase, RunSpec


class FirstStepFailed(BackendError):
    """The first step left nothing to go on from."""

    outcome = Outcome.CANCELLED
    charged = False


@dataclass(frozen=True, slots=True)
class FirstStep:
    """The first step, as its second waits for it.

    `ended` waits for its job and returns it. `picture` reads a kept picture by its SHA-256, None
    where it is gone. `anyway` goes on from any picture that there is, even if the job was stopped.
    """

    label: str
    ended: Callable[[], Awaitable[Job]]
    picture: Callable[[str], Awaitable[bytes | None]]
    anyway: bool = False

    async def start(self, request: Request) -> Request:
        """Return `request` with the first step's picture, once that is there.

        Raises:
            NotBegun: there is none.
        """
        job = await self.ended()
        if not job.pictures or not (self.anyway or job.outcome is Outcome.DONE):
            raise FirstStepFailed(f"Not begun: {self.label} made no picture to go on from.")
        image = await self.picture(job.pictures[0].sha256)
        if image is None:
            raise FirstStepFailed(f"Not begun: the picture of {self.label} is no longer on disk.")
        return replace(request, image=image)


@dataclass(frozen=True, slots=True)
class Step:
    """The place of a new job in its run; `parent` makes it a second step."""

    run_id: str
    place: int
    model: Model
    parent: str | None = None

    @property
    def id(self) -> str:
        """The id of its job."""
        return f"{self.run_id}-{self.place}"


def steps(
    run_id: str,
    models: Sequence[Model],
    then: Model | None,
    *,
    first: int = 0,
    parent: str | None = None,
) -> Iterator[Step]:
    """Yield a step for each model, and after each one that of `then`; places count from `first`."""
    place = first
    for model in models:
        step = Step(run_id, place, model, parent)
        yield step
        place += 1
        if then is not None:
            yield Step(run_id, place, then, step.id)
            place += 1


def new_job(
    step: Step, spec: RunSpec, now: datetime, estimate: Callable[[Model, Request], Cost]
) -> Job:
    """Return the job of a step, as it stands before anything has happened."""
    request = spec.request if step.parent is None else spec.second_request()
    return Job(
        id=step.id,
        run_id=step.run_id,
        model=step.model.id,
        created_at=now,
        parent=step.parent,
        phase=Phase.QUEUED if step.parent is None else Phase.WAITING,
        cost=estimate(step.model, request),
    )


def chain_totals(parent: Job, job: Job) -> tuple[float | None, Cost]:
    """Return the seconds and the cost of both steps of a chain; None where they are not known."""
    times = parent.timing.total, job.timing.total
    seconds = None if None in times else sum(time for time in times if time is not None)
    return seconds, combine((parent.cost, job.cost))


def parent_of(job: Job, jobs: Sequence[Job]) -> Job | None:
    """Return the first step of a second one."""
    return next((other for other in jobs if other.id == job.parent), None)
