"""The run that the page shows: its board, and what the board's buttons do."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.blocks import Block

from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from compare.records import Run
from compare.runs.budget import OverBudget
from compare.store.errors import StoreError
from compare.visitor_keys import visitor_keys
from ui.board import renderer as board
from ui.board.renderer import Renderer
from ui.compare_tab import cost_line, form
from ui.context import Context

MISTAKES = (OverBudget, UnknownModel, StoreError)


class Results:
    """Lays the board out; `parts` are what `show` fills. A refusal goes into the line `said`."""

    def __init__(self, context: Context, renderer: Renderer, keys: gr.State, said: gr.HTML) -> None:
        self._context = context
        self._renderer = renderer
        self._said = said
        self._board = board.component()
        self.id = gr.State("")
        self._wire(keys)

    @property
    def parts(self) -> list[Block]:
        """What `show` fills."""
        return [self._board, self.id]

    async def show(self, lineup: Lineup, run: Run) -> dict[Block, Any]:
        """Show a run, with a strip of the others that were started together with it."""
        batch = await lineup.runner.batch(run.id)
        return {self._board: self._renderer.board(run, batch), self.id: run.id}

    def _wire(self, keys: gr.State) -> None:
        retried = self._board.retry(self.retry, keys, [*self.parts, self._said], **form.QUICK)
        retried.then(None, js=board.ANSWERED)
        self._board.again(self.run_again, keys, [*self.parts, self._said], **form.QUICK)
        self._board.variant(self.variant, None, self.parts, **form.QUICK)
        self._board.halt(self.stop_job, None, None, **form.QUICK)

    async def retry(self, keys: Mapping[str, str], event: gr.EventData) -> dict[Block, Any]:
        """Try one model of a run again; the first attempt stays in the table."""
        lineup = await self._context.lineup()
        run_id, job_id = _named(event)
        try:
            with visitor_keys(keys):
                await lineup.runner.retry(run_id, job_id)
        except MISTAKES as error:
            return {self._said: cost_line.problems({"": str(error)})}
        run = await lineup.runner.get(run_id)
        return await self.show(lineup, run) if run else {}

    async def run_again(self, keys: Mapping[str, str], event: gr.EventData) -> dict[Block, Any]:
        """Start a new run with the request and the models of the one shown."""
        lineup = await self._context.lineup()
        run = await lineup.runner.get(_named(event)[0])
        if run is None:
            return {}
        try:
            with visitor_keys(keys):
                begun = await lineup.runner.start(run.spec, models_of(run))
        except MISTAKES as error:
            return {self._said: cost_line.problems({"": str(error)})}
        return await self.show(lineup, begun)

    async def variant(self, event: gr.EventData) -> dict[Block, Any]:
        """Show the board of another variant of the same prompt."""
        lineup = await self._context.lineup()
        run = await lineup.runner.get(_named(event)[0])
        return await self.show(lineup, run) if run else {}

    async def stop(self, run_id: str) -> None:
        """Stop what can be stopped of the run that is shown, and of its other variants."""
        await (await self._context.lineup()).runner.stop_batch(run_id)

    async def stop_job(self, event: gr.EventData) -> None:
        """Stop one job."""
        await (await self._context.lineup()).runner.stop(*_named(event))


def models_of(run: Run) -> list[str]:
    """Return the ids of the models that were chosen for a run, each once, in their order."""
    return list(dict.fromkeys(job.model for job in run.jobs if job.parent is None))


def _named(event: gr.EventData) -> tuple[str, str]:
    data: Mapping[str, Any] = event._data or {}  # pyright: ignore[reportPrivateUsage]
    return str(data.get("run", "")), str(data.get("job", ""))
