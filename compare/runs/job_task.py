"""Execute one job, from its lane to its outcome.

The order of the writes matters. "Sent" is on disk before the next event is requested from the
backend, which sends its request only then. A picture is on disk before it is published. The
outcome is on disk before it is shown.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never

from backends.base import (
    Backend,
    Basis,
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
from backends.errors import (
    BackendError,
    BadInput,
    RetiredModel,
    ServiceFault,
)
from backends.images.validation import check
from compare.catalogue.catalogue import status_sentence
from compare.pricing import BillableWork
from compare.records import Job, Payer, Phase, Timing
from compare.redaction import clean_text, traceback_text
from compare.runs.cleaning import clean_event
from compare.runs.lanes import Lanes
from compare.runs.outcome import LENT_FAILS, Ending, JobResult, is_of_account
from compare.runs.replay import Replays
from compare.runs.second_step import FirstStep
from compare.runs.stopwatch import Activity, Stopwatch
from compare.store.errors import StoreError
from compare.store.store import Store

log = logging.getLogger(__name__)

_MICRODOLLAR = Decimal("0.000001")
CLEANUP_SECONDS = 60.0
"""How long a job that was stopped may take to clean up before it ends without that."""
_left_behind: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """The services that all jobs of a runner share."""

    store: Store
    lanes: Lanes
    throttle: Throttle
    backend: Callable[[Model], Backend]
    hide: Callable[[str], str]
    hourly_rate: Decimal | None
    public: bool = False
    replays: Replays = field(default_factory=Replays)


class JobTask:
    """Executes one job. `job` is its present state; `publish(job, immediate)` receives changes.

    With a `first_step`, the job is a second step and waits for the first step's picture. The jobs
    of one `visitor` take turns with those of others in a lane.
    """

    def __init__(
        self,
        job: Job,
        model: Model,
        request: Request,
        context: JobContext,
        publish: Callable[[Job, bool], None],
        first_step: FirstStep | None = None,
        *,
        visitor: str = "",
    ) -> None:
        self.job = job
        self.model = model
        self.stored = True
        self._request = request
        self._context = context
        self._publish = publish
        self._first_step = first_step
        self._visitor = visitor
        self._stopwatch = Stopwatch()
        self._receipt: Receipt | None = None
        self._losses: list[str] = []
        self._submit: Callable[[bytes], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._is_ending = False

    def start(self) -> asyncio.Task[None]:
        """Start the task, which never raises; the caller must hold a reference to it."""
        self.task = asyncio.create_task(self._run(), name=f"job {self.job.id}")
        return self.task

    def stop(self) -> None:
        """Cancel the job, unless it is ending already."""
        if self.task is not None and not self._is_ending and not self._is_stopping:
            self._is_stopping = True
            self.task.cancel()

    async def submit_picture(self, data: bytes) -> None:
        """Pass a picture uploaded by a person to the backend.

        Raises:
            BackendError: the data are no picture, or the job waits for none; the job goes on.
        """
        try:
            await asyncio.to_thread(check, data)
        except ServiceFault as error:
            raise BadInput(
                "That is no whole picture. Save it once more and bring it again."
            ) from error
        if self._submit is None:
            raise BadInput("This card waits for no picture any more.")
        self._submit(data)
        self._stopwatch.record_by_hand()

    async def _run(self) -> None:
        try:
            end = await self._result()
        except BaseException as error:  # whatever it is, the job ends
            end = self._internal_error(error)
        self._is_ending, self._submit = True, None
        await self._finish(end)

    async def _result(self) -> JobResult:
        """Draw, and return how that ended."""
        try:
            await self._draw_within_limits()
            return self._finished()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return self._stopped()
            return self._internal_error(error)  # the backend has raised it by itself
        except BackendError as error:
            if self._is_stopping:
                return self._stopped()
            return self._facts().failed(self._presentable(error))
        except StoreError as error:
            return self._facts().store_failed(error)
        except Exception as error:
            return self._internal_error(error)

    def _presentable(self, error: BackendError) -> BackendError:
        """Return `error` without what it tells a visitor of the account behind a lent key."""
        own = self.model.price.basis in (Basis.FREE, Basis.HARDWARE)
        lent = self._context.public and self.job.payer is Payer.OWNER and not own
        if not (lent and is_of_account(error)):
            return error
        log.warning("Job %s (%s): %s", self.job.id, self.model.id, self._context.hide(str(error)))
        return error.redacted(lambda _: LENT_FAILS.format(self.model.provider))

    async def _draw_within_limits(self) -> None:
        """Draw in a task of its own; where it is stopped and does not end, leave it behind.

        It keeps its place in the lane until it ends.
        """
        work = asyncio.create_task(self._draw(), name=f"draw {self.job.id}")
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=CLEANUP_SECONDS)
            if not work.done():
                log.error("Job %s (%s) does not stop.", self.job.id, self.model.id)
                _left_behind.add(work)  # the event loop holds no reference to it
                work.add_done_callback(_left_behind.discard)
            elif not work.cancelled():
                work.exception()  # seen: the job was stopped, whatever it ended with
            raise

    async def _draw(self) -> None:
        if self.model.status.state in (State.RETIRED, State.NO_API):
            raise RetiredModel(status_sentence(self.model, datetime.now(UTC).date()))
        if self._first_step is not None:
            self._request = await self._first_step.request_with_picture(self._request)
            self._first_step, self._stopwatch = None, Stopwatch()
            self._update(phase=Phase.QUEUED, created_at=datetime.now(UTC))
        backend = self._context.backend(self.model)
        async with self._context.lanes.slot(backend.lane(self.model), self._visitor):
            await self._context.throttle.wait()
            self._stopwatch.start_work()
            self._update(immediate=True, phase=Phase.LOADING, started_at=datetime.now(UTC))
            async with aclosing(backend.generate(self.model, self._request)) as events:
                try:
                    async for reported in events:
                        event = await self._clean(reported)
                        self._submit = event.take if isinstance(event, Queued) else None
                        await self._handle(event)
                except SystemExit as error:  # out of a task it would end the event loop
                    raise RuntimeError(f"{self.model.id} asked to exit") from error

    async def _clean(self, event: Event) -> Event:
        """Return an event whose texts and numbers can be stored and shown."""
        if isinstance(event, Receipt):  # its texts may be long: the prompt, and what became of it
            return await asyncio.to_thread(clean_event, event, self._context.hide)
        return clean_event(event, self._context.hide)

    async def _handle(self, event: Event) -> None:
        match event:
            case Queued():
                self._stopwatch.switch_to(Activity.QUEUED)
                self._update(phase=Phase.QUEUED, message=event.message, command=event.command)
            case Loading(message=message):
                self._stopwatch.switch_to(Activity.LOAD)
                self._update(phase=Phase.LOADING, message=message)
            case Sending():
                at = datetime.now(UTC)
                await self._context.store.mark_sent(self.job.id, at)
                self._stopwatch.switch_to(Activity.GENERATE)
                self._update(phase=Phase.SENT, sent_at=at, message="")
                await self._context.throttle.wait()  # the request is sent as soon as this returns
            case Progress():
                done = bool(event.step) or event.preview is not None
                self._stopwatch.switch_to(Activity.GENERATE, began_before=done)
                if event.preview is not None:
                    self._stopwatch.record_preview()
                    self._context.replays.add(self.job.id, event.preview)
                self._update(
                    phase=Phase.GENERATING,
                    message=event.message,
                    step=self.job.step if event.step is None else event.step,
                    steps=self.job.steps if event.steps is None else event.steps,
                    preview=event.preview or self.job.preview,
                )
            case Picture():
                self._stopwatch.record_picture()
                await self._store_picture(event)
                self._stopwatch.record_stored()
                self._update(immediate=True, phase=Phase.GENERATING)
            case Receipt():
                self._receipt = await self._with_subscription_share(event)
                self._update(honoured=event.honoured)
            case _:
                assert_never(event)

    async def _with_subscription_share(self, receipt: Receipt) -> Receipt:
        """Charge the job its share of a subscription, by the number of pictures of this month."""
        if receipt.monthly is None or not self.job.pictures:
            return receipt
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        try:
            monthly_pictures = await self._context.store.drawn_since(self.model.backend, month)
        except StoreError:  # the pictures are stored: only the price stays unknown
            return receipt
        share = (
            receipt.monthly * len(self.job.pictures) / max(monthly_pictures, len(self.job.pictures))
        )
        return replace(receipt, charged=share.quantize(_MICRODOLLAR))

    async def _store_picture(self, picture: Picture) -> None:
        """Store a finished picture, even if the job is stopped meanwhile."""
        saving = asyncio.ensure_future(self._save(picture))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await saving
            raise

    async def _save(self, picture: Picture) -> None:
        store, position = self._context.store, len(self.job.pictures)
        try:
            saved = await store.add_picture(self.job.id, picture, position=position)
        except Exception as error:
            # The picture may have been paid for: it stays on the card while Lineup runs, and is
            # written to the temporary folder. The job goes on, so that its cost becomes known.
            self.job = replace(self.job, preview=Preview(picture.data, picture.media_type))
            file = await store.rescue(picture)
            where = f"was put into {file} instead" if file else "is only on this page, save it now"
            if not isinstance(error, StoreError):
                self._log("could not store a picture", error)
            why = error if isinstance(error, StoreError) else "A picture could not be stored."
            self._losses.append(f"{why} The picture {where}.")
        else:
            self.job = replace(self.job, pictures=(*self.job.pictures, saved))

    def _finished(self) -> JobResult:
        if self._losses:
            return self._facts().pictures_lost(self._losses)
        return self._facts().finished()

    def _stopped(self) -> JobResult:
        if self._receipt is not None and self.job.pictures:
            return self._finished()
        return self._facts().stopped()

    def _internal_error(self, error: BaseException) -> JobResult:
        self._log("failed", error)
        self._receipt = None  # it may be what could not be computed with
        return self._facts().internal_error()

    def _facts(self) -> Ending:
        return Ending(
            job=self.job,
            work=BillableWork(
                model=self.model,
                request=self._request,
                receipt=self._receipt,
                seconds=self._stopwatch.read(self._receipt).generate,
                hourly_rate=self._context.hourly_rate,
            ),
        )

    def _update(self, *, immediate: bool = False, command: str = "", **changes: Any) -> None:
        """Change the job and publish it, at once if the phase is new.

        Every change ends the `command` of the previous state.
        """
        if self._is_ending:
            return  # reported by work that did not stop
        before, timing = self.job, self._stopwatch.read(self._receipt)
        by_hand = self._submit is not None
        since = datetime.now(UTC) - timedelta(seconds=self._stopwatch.seconds_so_far())
        self.job = replace(
            before,
            timing=timing,
            command=command,
            by_hand=by_hand,
            since=since,
            **changes,
        )
        self._publish(self.job, immediate or self.job.phase is not before.phase)

    async def _finish(self, end: JobResult) -> None:
        """End the job, whatever else fails: a run waits for the end of each of its jobs."""
        try:
            self.job = self._ended(end)
        except Exception as error:
            self._log("could not be summed up", error)
            message = f"{self.model.label} ended, and Lineup itself failed then."
            ended = replace(self.job, phase=Phase.ENDED, outcome=end.outcome, cost=end.cost)
            self.job = replace(ended, message=message, command="", by_hand=False)
        self.stored = await self._save_end()
        try:
            self._publish(self.job, True)
        except Exception as error:
            self._log("could not be shown", error)

    def _ended(self, end: JobResult) -> Job:
        begun = self._first_step is None
        return replace(
            self.job,
            phase=Phase.ENDED,
            outcome=end.outcome,
            message=clean_text(end.message, self._context.hide),
            cost=end.cost,
            # The wait for the first step is not part of the second.
            timing=self._stopwatch.read(self._receipt, ended=True) if begun else Timing(),
            command="",
            by_hand=False,
            since=None,
            step=None,
            steps=None,
            preview=self.job.preview if self._losses else None,
        )

    async def _save_end(self) -> bool:
        """Store the end of the job; return whether that was possible."""
        try:
            await self._context.store.save_job(self.job)
        except StoreError as error:
            log.error("The end of job %s could not be written: %s", self.job.id, error)
            return False
        except Exception as error:
            # Something of the job cannot be stored: keep its outcome, its cost and its pictures.
            self._log("could not be stored whole", error)
            self.job = replace(self.job, honoured={}, timing=Timing())
            try:
                await self._context.store.save_job(self.job)
            except Exception as again:
                self._log("could not be stored at all", again)
                return False
        return True

    def _log(self, what: str, error: BaseException) -> None:
        """Log a traceback, with all keys hidden; it is shown nowhere else."""
        text = traceback_text(error, self._context.hide)
        log.error("Job %s (%s) %s:\n%s", self.job.id, self.model.id, what, text)
