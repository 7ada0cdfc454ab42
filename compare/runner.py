"""Runs: one request, several models, at the same time.

A run belongs to the runner and not to whoever asked for it. Its jobs are tasks of the runner, its
news is a broadcast that anybody may follow, leave, and follow again.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from backends.base import Backend, Config, Model, Readiness, Ready, Request
from backends.errors import BackendError
from compare import pricing
from compare.catalogue import Catalogue, status_on
from compare.follow import UnknownRun, follow
from compare.lanes import Lanes
from compare.live import Live
from compare.records import Cost, Job, Phase, Run
from compare.settings import Settings
from compare.store import Store
from compare.work import Place, Work

Result = TypeVar("Result")


class Runner:
    """Starts runs, follows them, stops them; one for each process and event loop."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        create: Callable[[str, Config], Backend],
        settings: Settings,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._create = create
        self._settings = settings
        self._backends: dict[str, Backend] = {}
        self._live: dict[str, Live] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seconds: dict[str, float] = {}
        self._place = Place(
            store=store,
            lanes=Lanes(),
            backend=self._backend,
            hide=settings.hide,
            hourly_rate=settings.hourly_rate,
        )

    async def open(self) -> None:
        """Learn from the store how long each model usually takes."""
        self._seconds = await self._store.medians()

    async def start(self, request: Request, model_ids: Sequence[str]) -> Run:
        """Begin a run. Its jobs are in the store when this returns, and go on by themselves.

        Raises:
            ValueError: no model is named.
            UnknownModel: there is no such model.
            StoreError: the run could not be written down; nothing was begun.
        """
        if not model_ids:
            raise ValueError("Choose at least one model.")
        models = [self.model(id) for id in model_ids]
        return await self._unstoppable(self._start(request, models))

    async def retry(self, run_id: str, job_id: str) -> Job:
        """Ask the model of an ended job once more, as a new job of the same run.

        Raises:
            UnknownRun: there is no such run or job.
            ValueError: the job has not ended.
        """
        run = await self.get(run_id)
        old = next((job for job in run.jobs if job.id == job_id), None) if run else None
        if old is None:
            raise UnknownRun(f"There is no job {job_id} in a run {run_id}.")
        if old.outcome is None:
            raise ValueError("This is still under way.")
        return await self._unstoppable(self._retry(run_id, self.model(old.model)))

    async def watch(self, run_id: str) -> AsyncGenerator[Job, None]:
        """Yield every job as it stands, then each change, until all have ended.

        A slow watcher misses states in between, never the last one. Closing this changes nothing.

        Raises:
            UnknownRun: there is no such run.
        """
        live = self._live.get(run_id)
        news = live.news.watch() if live else follow(self._store, run_id)
        async with aclosing(news) as jobs:
            async for job in jobs:
                yield job

    async def stop(self, run_id: str, job_id: str | None = None) -> None:
        """Stop a run or one of its jobs, and return when it has ended.

        What was not sent costs nothing, what draws here stops at its next step; of what was sent
        nobody knows whether it is billed, and its outcome says so.
        """
        live = self._live.get(run_id)
        works = () if live is None else live.works
        chosen = [work for work in works if job_id in (None, work.job.id)]
        for work in chosen:
            work.stop()
        tasks = [task for work in chosen if (task := work.task) is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def get(self, run_id: str) -> Run | None:
        """Return a run as it stands now, under way or stored."""
        if live := self._live.get(run_id):
            return live.run
        return await self._store.run(run_id)

    def model(self, id: str) -> Model:
        """Return a model with the status that it has today.

        Raises:
            UnknownModel: there is none.
        """
        model = self._catalogue.find(id)
        return replace(model, status=status_on(model, datetime.now(UTC).date()))

    def estimates(self, request: Request, model_ids: Sequence[str]) -> dict[str, Cost]:
        """Return what `request` is expected to cost on each model."""
        return {id: self._estimate(self.model(id), request) for id in model_ids}

    def ready(self, model: Model) -> Ready:
        """Say whether `model` can run now."""
        model = replace(model, status=status_on(model, datetime.now(UTC).date()))
        try:
            return self._backend(model).ready(model)
        except (BackendError, LookupError, ImportError) as error:
            return Ready(Readiness.UNAVAILABLE, self._settings.hide(str(error)))

    async def aclose(self) -> None:
        """Stop everything and let go of the backends."""
        await asyncio.gather(*(self.stop(run_id) for run_id in tuple(self._live)))
        if self._tasks:
            await asyncio.wait(self._tasks)
        for backend in self._backends.values():
            await backend.aclose()
        self._backends.clear()

    async def _start(self, request: Request, models: Sequence[Model]) -> Run:
        now = datetime.now(UTC)
        run_id = secrets.token_hex(8)
        jobs = tuple(
            self._new_job(run_id, position, model, request, now)
            for position, model in enumerate(models)
        )
        live = Live(Run(id=run_id, created_at=now, request=request, jobs=jobs))
        works = [self._work(live, job, model) for job, model in zip(jobs, models, strict=True)]
        await self._store.add_run(live.run)
        self._live[run_id] = live
        for work in works:
            live.join()
            self._begin(live, work)
        return live.run

    async def _retry(self, run_id: str, model: Model) -> Job:
        live = await self._rejoin(run_id)
        live.join()
        try:
            position = live.take_place()
            job = self._new_job(run_id, position, model, live.request, datetime.now(UTC))
            work = self._work(live, job, model)
            await self._store.add_job(job, position)
        except BaseException:
            self._leave(live)
            raise
        live.tell(job, True)
        self._begin(live, work)
        return job

    async def _rejoin(self, run_id: str) -> Live:
        """Return the run as one that is under way, again if need be."""
        if (live := self._under_way(run_id)) is None:
            run = await self.get(run_id)
            if run is None:
                raise UnknownRun(f"There is no run {run_id}.")
            # Somebody else may have been here in the meantime.
            if (live := self._under_way(run_id)) is None:
                live = self._live[run_id] = Live(run)
        return live

    def _under_way(self, run_id: str) -> Live | None:
        live = self._live.get(run_id)
        return None if live is None or live.news.closed else live

    def _new_job(
        self, run_id: str, position: int, model: Model, request: Request, now: datetime
    ) -> Job:
        return Job(
            id=f"{run_id}-{position}",
            run_id=run_id,
            model=model.id,
            created_at=now,
            phase=Phase.QUEUED,
            cost=self._estimate(model, request),
        )

    def _work(self, live: Live, job: Job, model: Model) -> Work:
        return Work(job, model, live.request, self._place, live.tell)

    def _begin(self, live: Live, work: Work) -> None:
        """Set a job going; `live` has been joined for it."""
        live.works.append(work)
        task = work.begin()
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(live, work, task))

    def _ended(self, live: Live, work: Work, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if work.job.timing.generate is not None:
            self._seconds.setdefault(work.model.id, work.job.timing.generate)
        self._leave(live)

    def _leave(self, live: Live) -> None:
        live.leave()
        # What could not be written down is only here: then the run stays.
        if live.news.closed and live.kept:
            self._live.pop(live.run.id, None)

    def _estimate(self, model: Model, request: Request) -> Cost:
        rate, seconds = self._settings.hourly_rate, self._seconds.get(model.id)
        return pricing.estimate(model, request, hourly_rate=rate, seconds=seconds)

    def _backend(self, model: Model) -> Backend:
        name = model.backend
        if name not in self._backends:
            self._backends[name] = self._create(name, self._settings.config())
        return self._backends[name]

    async def _unstoppable(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Finish `work` even if the caller is gone: half a start would be an orphan."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
