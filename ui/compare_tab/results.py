"""The results below the form: one run's board, and the handlers of the board's buttons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import gradio as gr
from gradio.blocks import Block

from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from compare.records import Job, Run, RunSpec
from compare.runs.broadcast import UnknownRun
from compare.runs.budget import OverBudget
from compare.runs.limits import OverLimit
from compare.store.errors import StoreError
from compare.visitor_keys import visitor_keys
from ui.board import renderer as board
from ui.board.renderer import Renderer
from ui.compare_tab import cost_line
from ui.compare_tab.form import random_seed
from ui.compare_tab.sections import Updates
from ui.context import NOT_YOURS, Context
from ui.events import QUICK
from ui.page_files import script
from ui.visitors import visitor_id

MORE: Final = 4
"""Pictures of "More of this model"."""
MAX_STOPPED: Final = 50
"""Runs that "Stop all" ends at most."""
VISIT: Final = """<div class="lu-visit" hidden>
  <nav class="lu-runs" aria-label="Runs of this visit, newest first" hidden></nav>
  <button type="button" data-act="stop-all" hidden>Stop all</button>
  <p class="lu-unseen" role="status"></p>
</div>"""
START_ERRORS = (OverBudget, OverLimit, UnknownModel, StoreError)
"""Errors of starting a run or a retry, whose message is shown to the user."""


class NotYours(ValueError):
    """The visitor may look at a run, but not change it; the message is for the page."""


CHANGE_ERRORS = (*START_ERRORS, NotYours, UnknownRun, ValueError)
"""Errors of the board's buttons, whose message is shown to the user."""


class Results:
    """The board of the run that the page shows; `id` is a state with the run's id.

    An error of one of its buttons is shown in the component `message`.
    """

    def __init__(
        self, context: Context, renderer: Renderer, keys: gr.State, message: gr.HTML
    ) -> None:
        self._context = context
        self._renderer = renderer
        self._message = message
        self._visit = gr.HTML(
            html_template=VISIT,
            js_on_load=script("visit.js", events=("open", "stopall")),
            apply_default_css=False,
        )
        self._board = board.component()
        self.id = gr.State("")
        self._wire(keys)

    @property
    def outputs(self) -> Sequence[Block]:
        """The components that `show` changes."""
        return [self._board, self.id]

    async def show(self, lineup: Lineup, run: Run, request: gr.Request) -> Updates:
        """Show a run, with a strip of the other runs of its batch.

        Its buttons are left out for a visitor who may only look at it.
        """
        batch = await lineup.runner.batch(run.id)
        mine = self._context.may_change(run, visitor_id(request.headers))
        return {self._board: self._renderer.board(run, batch, mine=mine), self.id: run.id}

    def _wire(self, keys: gr.State) -> None:
        """Listen to the events that board.js triggers."""
        outputs = [*self.outputs, self._message]
        retried = self._board.retry(self.retry, keys, outputs, **QUICK)
        retried.then(None, js=board.ON_RETRIED)
        self._board.again(self.run_again, keys, outputs, **QUICK)
        self._board.seed(self.new_seed, keys, outputs, **QUICK)
        self._board.more(self.more, keys, outputs, **QUICK)
        self._board.variant(self.show_run, None, outputs, **QUICK)
        self._visit.open(self.show_run, None, outputs, **QUICK)
        self._visit.stopall(self.stop_all, None, self._message, **QUICK)
        self._board.halt(self.stop_job, None, self._message, **QUICK)

    async def retry(
        self, keys: Mapping[str, str], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Retry one job of a run; the first attempt stays in the table."""
        run_id, job_id = _ids(event)
        try:
            lineup, _ = await self._changeable(run_id, request)
            with visitor_keys(keys):
                await lineup.runner.retry(run_id, job_id)
        except CHANGE_ERRORS as error:
            return {self._message: cost_line.problem(error)}
        run = await lineup.runner.get(run_id)
        return await self.show(lineup, run, request) if run else {}

    async def run_again(
        self, keys: Mapping[str, str], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Start a new run with the specification and the models of the one shown."""
        return await self._start(keys, event, request, lambda run, _: (run.spec, models_of(run)))

    async def new_seed(
        self, keys: Mapping[str, str], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Start the run that is shown once more, with another seed."""
        return await self._start(
            keys, event, request, lambda run, _: (reseeded(run.spec), models_of(run))
        )

    async def more(
        self, keys: Mapping[str, str], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Start a run of `MORE` pictures of one model of the run that is shown."""
        return await self._start(
            keys, event, request, lambda run, job: (reseeded(run.spec, count=MORE), [job.model])
        )

    async def _start(
        self,
        keys: Mapping[str, str],
        event: gr.EventData,
        request: gr.Request,
        derive: Callable[[Run, Job], tuple[RunSpec, Sequence[str]]],
    ) -> Updates:
        """Start the run that `derive` makes of the one shown and of the job that the page named."""
        run_id, job_id = _ids(event)
        try:
            lineup, run = await self._changeable(run_id, request)
            job = next((job for job in run.jobs if job.id == job_id), run.jobs[0])
            first = next((each for each in run.jobs if each.id == job.parent), job)
            spec, models = derive(run, first)
            with visitor_keys(keys):
                started = await lineup.runner.start(
                    spec, models, visitor=visitor_id(request.headers)
                )
        except CHANGE_ERRORS as error:
            return {self._message: cost_line.problem(error)}
        return await self.show(lineup, started, request)

    async def show_run(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Show the board of another run: a variant, or one of the visit; "" shows none."""
        lineup = await self._context.lineup()
        run_id = _ids(event)[0]
        run = await lineup.runner.get(run_id) if run_id else None
        if run is not None:
            return await self.show(lineup, run, request)
        wrong = cost_line.problems({"run": missing(run_id)}) if run_id else gr.skip()
        return {self._board: "", self.id: "", self._message: wrong}

    async def stop_all(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Stop every run that the page names and that the visitor may change."""
        named = event._data.get("runs", [])  # pyright: ignore[reportPrivateUsage]
        ids = [str(run_id) for run_id in named][:MAX_STOPPED] if isinstance(named, list) else []
        try:
            for run_id in ids:
                lineup, _ = await self._changeable(run_id, request)
                await lineup.runner.stop_batch(run_id)
        except CHANGE_ERRORS as error:
            return {self._message: cost_line.problem(error)}
        return {}

    async def stop(self, run_id: str, request: gr.Request) -> Updates:
        """Stop what can be stopped of the run that is shown, and of its other variants."""
        if not run_id:
            return {}
        try:
            lineup, _ = await self._changeable(run_id, request)
        except CHANGE_ERRORS as error:
            return {self._message: cost_line.problem(error)}
        await lineup.runner.stop_batch(run_id)
        return {}

    async def stop_job(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Stop one job."""
        run_id, job_id = _ids(event)
        try:
            lineup, _ = await self._changeable(run_id, request)
        except CHANGE_ERRORS as error:
            return {self._message: cost_line.problem(error)}
        await lineup.runner.stop(run_id, job_id)
        return {}

    async def _changeable(self, run_id: str, request: gr.Request) -> tuple[Lineup, Run]:
        """Return the open Lineup and a run that the visitor may change.

        Raises:
            NotYours: there is no such run, or another visitor has started it.
            StoreError: the data folder can't be used.
        """
        lineup = await self._context.lineup()
        run = await lineup.runner.get(run_id)
        if run is None or not self._context.may_change(run, visitor_id(request.headers)):
            raise NotYours(NOT_YOURS)
        return lineup, run


def reseeded(spec: RunSpec, *, count: int | None = None) -> RunSpec:
    """Return `spec` with a random seed, and with `count` pictures if it is given."""
    request = replace(spec.request, seed=random_seed(), count=count or spec.request.count)
    return replace(spec, request=request)


def missing(run_id: str) -> str:
    """Return the sentence about a run that is not in the store."""
    return f"There is no run {run_id[:40]} here. It may be kept in another data folder."


def models_of(run: Run) -> list[str]:
    """Return the ids of the models chosen for a run, each once, in the order of the choice."""
    return list(dict.fromkeys(job.model for job in run.jobs if job.parent is None))


def _ids(event: gr.EventData) -> tuple[str, str]:
    """Return the run's id and the job's id that board.js sent with an event."""
    data: Mapping[str, Any] = event._data or {}  # pyright: ignore[reportPrivateUsage]
    return str(data.get("run", "")), str(data.get("job", ""))
