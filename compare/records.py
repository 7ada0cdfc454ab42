"""The records of a comparison: runs, jobs, times, costs, saved pictures.

All are frozen. A job's next state is a new `Job`; watchers of a run receive complete jobs and may
drop all but the newest state of each.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from backends.base import Applied, Basis, Preview, Request, Value
from backends.errors import Outcome


class Phase(StrEnum):
    """A job's progress before it has an outcome; WAITING is for the first step's picture."""

    WAITING = "waiting"
    QUEUED = "queued"
    LOADING = "loading"
    SENT = "sent"
    GENERATING = "generating"
    ENDED = "ended"


class Payer(StrEnum):
    """Whose key pays for a job: the owner's own or lent one, or one that the visitor typed."""

    OWNER = "owner"
    VISITOR = "visitor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds on the monotonic clock; None is "not known" or "did not happen".

    queued: in Lineup's lane, in the service's queue, or for a person. load: all that precedes the
    drawing in the job's turn: importing libraries, downloading and loading weights, preparing the
    request. generate: the drawing itself, by which models are compared; None while it lasts, and
    if it is not known when it began or ended. first_preview: the drawing up to the first preview.
    download: fetching the bytes. total: from the click (of a second step: from the end of the
    first) to the last byte on disk. cached: a picture comes from an earlier job, so `total` says
    nothing about the model's speed and `generate` is None.
    """

    queued: float | None = None
    load: float | None = None
    first_preview: float | None = None
    generate: float | None = None
    download: float | None = None
    total: float | None = None
    cached: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A cost in USD: `amount` is None while unknown, `low` to `high` is the estimate."""

    amount: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    basis: Basis | None = None
    priced_on: date | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedPicture:
    """A picture on disk: `path` is relative to the store's home, `sha256` that of its bytes."""

    path: str
    sha256: str
    width: int
    height: int
    media_type: str
    size: int
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One model's part of a run. `outcome` is None until it has ended.

    `parent` of a second step is the id of the first step's job; `created_at` is then the moment
    from which it could begin.

    `started_at` is the wall clock time when work began (for a stopwatch in a browser); `sent_at`
    marks the moment since which money may have been spent. `command` is a text that a person is
    to submit elsewhere by hand, and `by_hand` is true if the picture may be uploaded in return.
    `since` is the wall clock time from which the seconds of the present phase count, and
    `expected_seconds` how long the drawing usually takes here. These four, `preview`, `step` and
    `steps` are live only and not stored.
    """

    id: str
    run_id: str
    model: str
    created_at: datetime
    parent: str | None = None
    payer: Payer = Payer.OWNER
    phase: Phase = Phase.QUEUED
    outcome: Outcome | None = None
    message: str = ""
    started_at: datetime | None = None
    sent_at: datetime | None = None
    timing: Timing = field(default_factory=Timing)
    cost: Cost = field(default_factory=Cost)
    honoured: Mapping[str, Applied] = field(default_factory=dict[str, Applied])
    pictures: tuple[SavedPicture, ...] = ()
    command: str = ""
    by_hand: bool = False
    since: datetime | None = None
    expected_seconds: float | None = None
    step: int | None = None
    steps: int | None = None
    preview: Preview | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondStep:
    """A second generation by `model`, which starts from each picture of the first one.

    An empty `prompt` stands for the run's own prompt; `strength` is the request's `strength` for
    this step, and `options` override the request's own.
    """

    model: str
    prompt: str = ""
    strength: float | None = None
    options: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict[str, Mapping[str, Value]]
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """How the prompt of a run came about; recorded with the run and sent to no backend.

    `template` is the prompt with variants that the prompt was expanded from. `original_prompt`
    is the text before the chat model `rewritten_by` rewrote it.
    """

    template: str | None = None
    original_prompt: str | None = None
    rewritten_by: str | None = None


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of a run: the request, its second step, and the prompt's provenance."""

    request: Request
    _: KW_ONLY
    second_step: SecondStep | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def second_request(self) -> Request:
        """Return the request of the second step; its `image` is empty until the first has ended.

        Raises:
            ValueError: the run has no second step.
        """
        request, second = self.request, self.second_step
        if second is None:
            raise ValueError("This run has no second step.")
        options = {
            name: {**request.options.get(name, {}), **second.options.get(name, {})}
            for name in {**request.options, **second.options}
        }
        return replace(
            request,
            prompt=second.prompt or request.prompt,
            image=b"",
            strength=second.strength,
            controls=(),
            count=1,
            options=options,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One request sent to several models; jobs in the order in which the models were chosen.

    `visitor` is the id of the visitor who started the run: the SHA-256 of a secret token that only
    that visitor's browser has. It is "" for runs of the command line and of earlier versions.
    """

    id: str
    created_at: datetime
    spec: RunSpec
    jobs: tuple[Job, ...]
    visitor: str = ""

    @property
    def request(self) -> Request:
        """The request that every first job sends."""
        return self.spec.request
