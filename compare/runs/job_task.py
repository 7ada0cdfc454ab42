"""One job, from its place in the lane to its outcome.

The order of things is the point. "Sent" is on disk before the backend is asked for its next
event, and only then does the request leave. A picture is on disk before anybody hears of it. The
outcome is on disk before it is shown.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_never

from backends.base import (
    Backend,
    Event,
    Loading,
    Model,
    Picture,
    Preview,
    Progress,
    Queued,
    Receipt,
    Request,
    Sending,
    State,
)
from backends.concurrency import Throttle
from backends.errors import BackendError, BadInput, RetiredModel, ServiceFault
from backends.images.validation import check
from compare.catalogue.catalogue import status_sentence
from compare.pricing import BillableWork
from compare.records import Job, Phase, Timing
from compare.runs.lanes import Lanes
from compare.runs.outcome import Ending, JobResult
from compare.runs.second_step import FirstStep
from compare.runs.stopwatch import Part, Stopwatch
from compare.store.errors import StoreError
from compare.store.store import Store

log = logging.getLogger(__name__)

_EXACT = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What all jobs of a runner share."""

    store: Store
    lanes: Lanes
    pace: Throttle
    backend: Callable[[Model], Backend]
    hide: Callable[[str], str]
    hourly_rate: Decimal | None


class JobTask:
    """Does one job. `job` is always its present state; `tell(job, hurry)` hears of changes.

    With a `before`, it is a second step, which waits for that one's picture first.
    """

    def __init__(
        self,
        job: Job,
        model: Model,
        request: Request,
        place: JobContext,
        tell: Callable[[Job, bool], None],
        before: FirstStep | None = None,
    ) -> None:
        self.job = job
        self.model = model
        self.kept = True
        self._request = request
        self._place = place
        self._tell = tell
        self._before = before
        self._stopwatch = Stopwatch()
        self._receipt: Receipt | None = None
        self._losses: list[str] = []
        self._hand: Callable[[bytes], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._stopping = False
        self._ending = False

    def begin(self) -> asyncio.Task[None]:
        """Start; the task belongs to whoever keeps it, and ends without an exception."""
        self.task = asyncio.create_task(self._run(), name=f"job {self.job.id}")
        return self.task

    def stop(self) -> None:
        """Stop as soon as it can be done; a job that is ending is left to end."""
        if self.task is not None and not self._ending and not self._stopping:
            self._stopping = True
            self.task.cancel()

    async def submit_picture(self, data: bytes) -> None:
        """Give the backend the picture that a person brings.

        Raises:
            BackendError: it is no picture, or the job waits for none; it goes on as before.
        """
        try:
            await asyncio.to_thread(check, data)
        except ServiceFault as error:
            raise BadInput(
                "That is no whole picture. Save it once more and bring it again."
            ) from error
        if self._hand is None:
            raise BadInput("This card waits for no picture any more.")
        self._hand(data)

    async def _run(self) -> None:
        try:
            await self._draw()
            end = self._drawn()
        except asyncio.CancelledError:
            end = self._stopped()
        except BackendError as error:
            end = self._stopped() if self._stopping else self._account().failed(error)
        except StoreError as error:
            end = self._account().store_failed(error)
        except Exception as error:
            end = self._broken(error)
        self._ending, self._hand = True, None
        await self._finish(end)

    async def _draw(self) -> None:
        if self.model.status.state in (State.RETIRED, State.NO_API):
            raise RetiredModel(status_sentence(self.model, datetime.now(UTC).date()))
        if self._before is not None:
            self._request = await self._before.start(self._request)
            self._before, self._stopwatch = None, Stopwatch()
            self._show(phase=Phase.QUEUED, created_at=datetime.now(UTC))
        backend = self._place.backend(self.model)
        async with self._place.lanes.of(backend.lane(self.model)):
            await self._place.pace.wait()
            self._stopwatch.work()
            self._show(hurry=True, started_at=datetime.now(UTC))
            async with aclosing(backend.generate(self.model, self._request)) as events:
                async for event in events:
                    self._hand = event.take if isinstance(event, Queued) else None
                    await self._take(event)

    async def _take(self, event: Event) -> None:
        match event:
            case Queued():
                self._stopwatch.turn(Part.QUEUED)
                self._show(phase=Phase.QUEUED, message=event.message, command=event.command)
            case Loading(message=message):
                self._stopwatch.turn(Part.LOAD)
                self._show(phase=Phase.LOADING, message=message)
            case Sending():
                at = datetime.now(UTC)
                await self._place.store.mark_sent(self.job.id, at)
                self._stopwatch.turn(Part.GENERATE)
                self._show(phase=Phase.SENT, sent_at=at, message="")
                await self._place.pace.wait()  # the request is made as soon as this returns
            case Progress():
                self._stopwatch.turn(Part.GENERATE)
                if event.preview is not None:
                    self._stopwatch.preview()
                self._show(
                    phase=Phase.GENERATING,
                    message=event.message,
                    step=self.job.step if event.step is None else event.step,
                    steps=self.job.steps if event.steps is None else event.steps,
                    preview=event.preview or self.job.preview,
                )
            case Picture():
                self._stopwatch.picture()
                await self._keep(event)
                self._stopwatch.kept()
                self._show(hurry=True, phase=Phase.GENERATING)
            case Receipt():
                self._receipt = await self._shared(event)
                self._show(honoured=event.honoured)
            case _:
                assert_never(event)

    async def _shared(self, receipt: Receipt) -> Receipt:
        """Charge the job its share of a subscription: by the pictures of this month so far."""
        if receipt.monthly is None or not self.job.pictures:
            return receipt
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        try:
            made = await self._place.store.drawn_since(self.model.backend, month)
        except StoreError:  # the pictures are safe: then the price is not known
            return receipt
        share = receipt.monthly * len(self.job.pictures) / max(made, len(self.job.pictures))
        return replace(receipt, charged=share.quantize(_EXACT))

    async def _keep(self, picture: Picture) -> None:
        """Put a finished picture where it is safe, even when the job is stopped meanwhile."""
        saving = asyncio.ensure_future(self._save(picture))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await saving
            raise

    async def _save(self, picture: Picture) -> None:
        store, position = self._place.store, len(self.job.pictures)
        try:
            saved = await store.add_picture(self.job.id, picture, position=position)
        except StoreError as error:
            # It may have been paid for: it stays on the card while Lineup runs, and goes where
            # there still is room. The job goes on, to learn what it cost.
            self.job = replace(self.job, preview=Preview(picture.data, picture.media_type))
            file = await store.rescue(picture)
            where = f"was put into {file} instead" if file else "is only on this page, save it now"
            self._losses.append(f"{error} The picture {where}.")
        else:
            self.job = replace(self.job, pictures=(*self.job.pictures, saved))

    def _drawn(self) -> JobResult:
        if self._losses:
            return self._account().pictures_lost(self._losses)
        return self._account().finished()

    def _stopped(self) -> JobResult:
        if self._receipt is not None and self.job.pictures:
            return self._drawn()
        return self._account().stopped()

    def _broken(self, error: Exception) -> JobResult:
        # The traceback is for the log alone, and even there without a key.
        text = "".join(traceback.format_exception(error))
        log.error("Job %s (%s):\n%s", self.job.id, self.model.id, self._place.hide(text))
        return self._account().internal_error()

    def _account(self) -> Ending:
        return Ending(
            job=self.job,
            work=BillableWork(
                model=self.model,
                request=self._request,
                receipt=self._receipt,
                seconds=self._stopwatch.read(self._receipt).generate,
                hourly_rate=self._place.hourly_rate,
            ),
        )

    def _show(self, *, hurry: bool = False, command: str = "", **changes: Any) -> None:
        """Take a change over and tell of it: at once when the phase is new, else soon.

        A command that waits for a person is over with whatever comes next.
        """
        before, timing = self.job, self._stopwatch.read(self._receipt)
        by_hand = self._hand is not None
        self.job = replace(before, timing=timing, command=command, by_hand=by_hand, **changes)
        self._tell(self.job, hurry or self.job.phase is not before.phase)

    async def _finish(self, end: JobResult) -> None:
        begun = self._before is None
        self.job = replace(
            self.job,
            phase=Phase.ENDED,
            outcome=end.outcome,
            message=self._place.hide(end.message),
            cost=end.cost,
            # Waiting for another model is nobody's time.
            timing=self._stopwatch.read(self._receipt, ended=True) if begun else Timing(),
            command="",
            by_hand=False,
            step=None,
            steps=None,
            preview=self.job.preview if self._losses else None,
        )
        try:
            await self._place.store.save_job(self.job)
        except StoreError as error:
            self.kept = False
            log.error("The end of job %s could not be written: %s", self.job.id, error)
        self._tell(self.job, True)
