"""Start, watch, retry and stop runs: one request, several models, at the same time.

A run belongs to the runner, not to its caller: its jobs are tasks of the runner, and its changes
are broadcast to any number of watchers, which may come and go.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from secrets import token_hex
from typing import Any, TypeVar

from backends.base import Applied, Model, Preview
from backends.concurrency import Throttle
from backends.errors import Outcome
from compare.catalogue.availability import Availability
from compare.records import Job, Run, RunSpec
from compare.runs import budget, limits, second_step
from compare.runs.active_run import ActiveRun
from compare.runs.broadcast import UnknownRun, follow
from compare.runs.job_task import JobContext, JobTask
from compare.runs.lanes import Lanes
from compare.runs.second_step import FirstStep
from compare.settings import Settings
from compare.store.budget import Budget, BudgetExceeded
from compare.store.store import Store

Result = TypeVar("Result")


class Runner:
    """Starts, watches and stops runs; one instance for each process and event loop."""

    def __init__(
        self,
        store: Store,
        availability: Availability,
        settings: Settings,
    ) -> None:
        self._store = store
        self._availability = availability
        self._settings = settings
        self._active: dict[str, ActiveRun] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._places = limits.Places(self._running_jobs)
        self._context = JobContext(
            store=store,
            lanes=Lanes(),
            throttle=Throttle(),
            backend=availability.backend,
            hide=settings.hide,
            hourly_rate=settings.hourly_rate,
            public=settings.public,
        )

    async def start(self, spec: RunSpec, model_ids: Sequence[str], visitor: str = "") -> Run:
        """Start a run. Its jobs are in the store when this returns, and run in the background.

        Raises: as `start_all` does.
        """
        return (await self.start_all([spec], model_ids, visitor))[0]

    async def start_all(
        self, specs: Sequence[RunSpec], model_ids: Sequence[str], visitor: str = ""
    ) -> tuple[Run, ...]:
        """Start a run for each spec, all of them or none; together they form a batch.

        `visitor` is the id of the visitor who starts them (see `Run`).

        Raises:
            ValueError: no model is given.
            OverBudget: together they might cost more than the rest of today's budget.
            OverLimit: a visitor asks for more than one visitor may have.
            UnknownModel: there is no such model.
            StoreError: the runs could not be stored; nothing was started.
        """
        if not model_ids:
            raise ValueError("Choose at least one model.")
        models = [self._availability.model(id) for id in model_ids]
        limits.check_specs(self._settings, specs)
        jobs = sum(len(models) * (2 if spec.second_step else 1) for spec in specs)
        places = ExitStack()
        places.enter_context(self._places.reserve(self._settings, visitor, jobs))
        return await self._run_shielded(self._start(specs, models, visitor), places)

    async def batch(self, run_id: str) -> tuple[Run, ...]:
        """Return the runs of this run's batch in their present state, itself included."""
        found = [await self.get(id) for id in await self._batch_ids(run_id)]
        return tuple(run for run in found if run is not None)

    async def stop_batch(self, run_id: str) -> None:
        """Stop all runs of this run's batch."""
        await asyncio.gather(*(self.stop(id) for id in await self._batch_ids(run_id)))

    async def retry(self, run_id: str, job_id: str) -> Job:
        """Repeat an ended job as a new job of the same run.

        A first step is followed by a new second step; a second step starts from the same picture.

        Raises:
            UnknownRun: there is no such run or job.
            ValueError: the job has not ended, or is a second step without a picture to start from.
            OverBudget: it might cost more than the rest of today's budget.
            OverLimit: the visitor has too many jobs under way.
        """
        run = await self.get(run_id)
        old = next((job for job in run.jobs if job.id == job_id), None) if run else None
        if run is None or old is None:
            raise UnknownRun(f"There is no job {job_id} in a run {run_id}.")
        if old.outcome is None:
            raise ValueError("This is still under way.")
        before = second_step.parent_of(old, run.jobs)
        if before is not None and not before.pictures:
            raise ValueError("The first step made no picture. Try that one again.")
        limits.check_specs(self._settings, [run.spec])
        jobs = 2 if run.spec.second_step and old.parent is None else 1
        places = ExitStack()
        places.enter_context(self._places.reserve(self._settings, run.visitor, jobs))
        return await self._run_shielded(self._retry(run_id, old), places)

    async def watch(self, run_id: str) -> AsyncGenerator[Job, None]:
        """Yield the present state of every job, then each change, until all have ended.

        A slow watcher misses states in between, never the last one. Closing the generator does
        not affect the run.

        Raises:
            UnknownRun: there is no such run.
        """
        live = self._active.get(run_id)
        news = live.updates.watch() if live else follow(self._store, run_id)
        async with aclosing(news) as jobs:
            async for job in jobs:
                yield job if live else self._shown(job)

    async def stop(self, run_id: str, job_id: str | None = None) -> None:
        """Stop a run or one of its jobs, and return when it has ended.

        A job that was not sent costs nothing; a local one stops at its next step. A job that was
        sent may be billed, and its outcome says so.
        """
        live = self._active.get(run_id)
        tasks = () if live is None else live.tasks
        chosen = [work for work in tasks if job_id in (None, work.job.id)]
        for work in chosen:
            work.stop()
        tasks = [task for work in chosen if (task := work.task) is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def submit_picture(self, run_id: str, job_id: str, data: bytes) -> None:
        """Pass a picture uploaded by a person to the job that waits for it.

        Raises:
            UnknownRun: no such job is running.
            BackendError: the data are no picture, or the job waits for none; the job goes on.
        """
        await self.active_task(run_id, job_id).submit_picture(data)

    def active_task(self, run_id: str, job_id: str) -> JobTask:
        """Return the task of a job that is running.

        Raises:
            UnknownRun: no such job is running.
        """
        live = self._active.get(run_id)
        for task in () if live is None else live.tasks:
            if task.job.id == job_id and task.job.outcome is None:
                return task
        raise UnknownRun("This card waits for no picture any more.")

    async def get(self, run_id: str) -> Run | None:
        """Return a run in its present state, running or stored; None if there is none."""
        if live := self._active.get(run_id):
            return live.run
        run = await self._store.run(run_id)
        return run and replace(run, jobs=tuple(map(self._shown, run.jobs)))

    def _shown(self, job: Job) -> Job:
        """Return a stored job as visitors may see it.

        The owner may have run it on loopback, where texts name the addresses of servers.
        """
        if not self._settings.public:
            return job
        hide = self._settings.hide_addresses
        honoured = {name: _hidden(each, hide) for name, each in job.honoured.items()}
        return replace(job, message=hide(job.message), honoured=honoured)

    async def aclose(self) -> None:
        """Stop all runs, and wait until their jobs have ended."""
        await asyncio.gather(*(self.stop(run_id) for run_id in tuple(self._active)))
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _start(
        self, specs: Sequence[RunSpec], models: Sequence[Model], visitor: str
    ) -> tuple[Run, ...]:
        runs = [
            self._new_run(run_id, spec, models, visitor)
            for run_id, spec in zip(new_run_ids(len(specs)), specs, strict=True)
        ]
        batch = [run.id for run in runs]
        begun = [ActiveRun(run, batch) for run in runs]
        tasks = [[self._new_task(live, job) for job in live.run.jobs] for live in begun]
        for run in runs:
            self._check_lent(run.jobs, run.spec)
        with self._budgeted() as today:
            await self._store.add_run(*runs, budget=today)
        for live, own in zip(begun, tasks, strict=True):
            self._active[live.run.id] = live
            for work in own:
                self._start_task(live, work)
        return tuple(live.run for live in begun)

    def previews(self, job_id: str) -> Sequence[Preview]:
        """Return the previews that a job has sent, as far as they are still in memory."""
        return self._context.replays.of(job_id)

    async def spent_today(self) -> tuple[Decimal, Decimal] | None:
        """Return what the owner's jobs of today cost, and the daily budget; None without one.

        In USD. Jobs under way count with the most that they may cost.
        """
        today = budget.today(self._settings.daily_budget)
        if today is None or (self._settings.public and not self._settings.lends_keys):
            return None
        return await self._store.spent_since(today.since), today.limit

    @contextmanager
    def _budgeted(self) -> Generator[Budget | None]:
        """Yield today's budget for adding jobs to the store; explain where they exceed it."""
        limit = self._settings.daily_budget
        try:
            yield budget.today(limit)
        except BudgetExceeded as error:
            public = self._settings.public
            raise budget.over_budget(error, limit or Decimal(0), public=public) from error

    def _check_lent(self, jobs: Iterable[Job], spec: RunSpec) -> None:
        if not self._settings.lends_keys:
            return
        second = spec.second_request().options if spec.second_step else {}

        def chosen(job: Job) -> list[str]:
            options = second if job.parent else spec.request.options
            return self._availability.own_key_options(self._availability.model(job.model), options)

        budget.check_lent(((job, self._availability.model(job.model)) for job in jobs), chosen)

    def _new_run(self, run_id: str, spec: RunSpec, models: Sequence[Model], visitor: str) -> Run:
        now = datetime.now(UTC)
        then = self._availability.model(spec.second_step.model) if spec.second_step else None
        plan = second_step.plan_jobs(run_id, models, then)
        jobs = tuple(
            second_step.new_job(planned, spec, now, self._availability) for planned in plan
        )
        return Run(id=run_id, created_at=now, spec=spec, jobs=jobs, visitor=visitor)

    async def _retry(self, run_id: str, old: Job) -> Job:
        live = await self._reactivate(run_id)
        live.join()
        try:
            now, model, then = (
                datetime.now(UTC),
                self._availability.model(old.model),
                live.spec.second_step,
            )
            follows = None if then is None or old.parent else self._availability.model(then.model)
            position = live.reserve_positions(1 if follows is None else 2)
            plan = second_step.plan_jobs(
                run_id, [model], follows, first=position, parent=old.parent
            )
            jobs = [
                second_step.new_job(planned, live.spec, now, self._availability) for planned in plan
            ]
            self._check_lent(jobs, live.spec)
            with self._budgeted() as today:
                await self._store.add_jobs(jobs, position, budget=today)
            for job in jobs:
                live.publish(job, True)
                self._start_task(
                    live, self._new_task(live, job, even_if_stopped=old.parent is not None)
                )
        finally:
            self._leave(live)
        return jobs[0]

    async def _reactivate(self, run_id: str) -> ActiveRun:
        """Return the run as an active one, activating it again if it has ended."""
        if (live := self._find_active(run_id)) is None:
            run = await self.get(run_id)
            if run is None:
                raise UnknownRun(f"There is no run {run_id}.")
            # Another caller may have activated it during the await.
            if (live := self._find_active(run_id)) is None:
                live = self._active[run_id] = ActiveRun(run)
        return live

    async def _batch_ids(self, run_id: str) -> Sequence[str]:
        """Return the ids of this run's batch, in order.

        A batch that is running is known without the database: it can be stopped even if the
        database cannot be read any more.
        """
        for live in self._active.values():
            if run_id in live.batch:
                return live.batch
        return await self._store.batch(run_id)

    def _find_active(self, run_id: str) -> ActiveRun | None:
        live = self._active.get(run_id)
        return None if live is None or live.updates.closed else live

    def _new_task(self, live: ActiveRun, job: Job, *, even_if_stopped: bool = False) -> JobTask:
        model = self._availability.model(job.model)
        if job.parent is None:
            return JobTask(
                job,
                model,
                live.spec.request,
                self._context,
                live.publish,
                visitor=live.run.visitor,
            )
        first = second_step.parent_of(job, live.run.jobs)
        before = FirstStep(
            label=self._availability.model(first.model).label if first else "The first step",
            wait=partial(live.wait_for, job.parent),
            read_picture=self._store.picture,
            even_if_stopped=even_if_stopped,
        )
        request = live.spec.second_request()
        return JobTask(
            job, model, request, self._context, live.publish, before, visitor=live.run.visitor
        )

    def _start_task(self, live: ActiveRun, work: JobTask) -> None:
        live.join()
        live.tasks.append(work)
        task = work.start()
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._on_task_done(live, work, task))

    def _on_task_done(self, live: ActiveRun, work: JobTask, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._leave(live)  # first: whatever fails below, the run's stream ends
        job = work.job
        drawn = job.outcome is Outcome.DONE and job.parent is None
        if drawn and (seconds := job.timing.generate) is not None:
            self._availability.record_seconds(work.model.id, seconds, len(job.pictures))

    def _leave(self, live: ActiveRun) -> None:
        live.leave()
        # A run with an outcome that could not be stored exists only here: it stays.
        if live.updates.closed and live.stored:
            self._active.pop(live.run.id, None)

    def _running_jobs(self, visitor: str) -> int:
        """Return how many jobs of a visitor have not ended."""
        runs = (live.run for live in self._active.values() if live.run.visitor == visitor)
        return sum(job.outcome is None for run in runs for job in run.jobs)

    async def _run_shielded(self, work: Coroutine[Any, Any, Result], places: ExitStack) -> Result:
        """Finish `work` even if the caller is cancelled, so that no run is half started.

        `places` are held until then: a caller who leaves early does not free them.
        """
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: places.close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


def _hidden(applied: Applied, hide: Callable[[str], str]) -> Applied:
    requested, used = (
        hide(value) if isinstance(value, str) else value
        for value in (applied.requested, applied.used)
    )
    return Applied(requested, used, hide(applied.note))


def new_run_ids(number: int) -> list[str]:
    """Return the ids of `number` new runs; those of a batch differ in the number at their end."""
    token = token_hex(8)
    return [token] if number == 1 else [f"{token}v{each}" for each in range(1, number + 1)]
