"""The Compare tab: ask once, watch every model answer, choose."""

import random
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from backends.base import Request
from compare.catalogue import UnknownModel
from compare.check import problems
from compare.faults import StoreError
from compare.lineup import Lineup
from compare.records import Run
from ui import board, form, options, picker, summary
from ui.board import Renderer
from ui.context import Context
from ui.control import ControlPicture

MOST_SEED = 2**32 - 1
Shown = dict[Component, Any]

# Ctrl/Cmd+Enter in any field presses Compare, as everywhere.
KEYS = """() => document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.activeElement?.blur();
    setTimeout(() => document.querySelector("button.lu-go")?.click(), 50);
  }
})"""


class CompareTab:
    """Lays the tab out and answers its events; each handler calls `compare` and translates."""

    def __init__(self, context: Context, renderer: Renderer) -> None:
        self._context = context
        self._renderer = renderer
        self._layout()
        self._wire()

    def _layout(self) -> None:
        with gr.Column(elem_classes="lu-ask"):
            with gr.Row(elem_classes="lu-top"):
                prompt = form.prompt_box()
                self.stop = gr.Button("Stop", elem_classes="lu-stop")
                self.go = gr.Button("Compare  Ctrl ↵", variant="primary", elem_classes="lu-go")
            chosen, adding = self._context.first, not self._context.public
            self.picker = picker.component(chosen, adding=adding)
            with gr.Row(elem_classes="lu-set"):
                shared = form.settings()
                self.seed, self.lock, self.dice = form.seed()
            with gr.Accordion("Control picture", open=False, elem_classes="lu-more-settings"):
                conditioning = ControlPicture(self._context).widgets
            with gr.Accordion("Backend options", open=False, elem_classes="lu-more-settings"):
                own = options.build()
            self.said = gr.HTML(elem_classes=["lu-sum", "lu-said"], apply_default_css=False)
        self.board = board.component()
        self.run = gr.State("")
        self.form: form.Widgets = {
            "prompt": prompt,
            **shared,
            "seed": self.seed,
            **conditioning,
            **own,
        }

    def _wire(self) -> None:
        asked = {**self.form, "models": self.picker}
        self.go.click(
            self.compare,
            inputs_kwargs={**asked, "locked": self.lock},
            outputs=[self.board, self.run, self.seed, self.said],
            **form.QUICK,
        )
        self.stop.click(self.halt, self.run, None, **form.QUICK)
        self.dice.click(lambda: random.randint(0, MOST_SEED), None, self.seed, **form.QUICK)
        # What the price depends on; typing a prompt costs no round trip.
        priced = [widget for name, widget in asked.items() if name not in _UNPRICED]
        gr.on(
            [widget.change for widget in priced],  # pyright: ignore[reportAttributeAccessIssue]
            self.estimate,
            inputs_kwargs=asked,
            outputs=[self.picker, self.said],
            trigger_mode="always_last",
            **form.QUICK,
        )
        shown = [self.board, self.run]
        self.board.retry(self.retry, None, shown, **form.QUICK)
        self.board.again(self.again, None, shown, **form.QUICK)
        self.board.halt(self.halt_one, None, None, **form.QUICK)

    async def compare(self, *, models: list[str], locked: bool, **fields: Any) -> Shown:
        """Start a run and show its board; the board follows the run by itself."""
        if not locked:
            fields["seed"] = random.randint(0, MOST_SEED)
        try:
            lineup = await self._context.lineup()
            request = form.to_request(fields)
            if wrong := problems(request, models, lineup.catalogue) or self._unlisted(models):
                return {self.said: summary.problems(wrong)}
            said = summary.estimate(lineup.runner.estimates(request, models))
            run = await lineup.runner.start(request, models)
        except (form.BadField, UnknownModel, StoreError) as error:
            return {self.said: summary.problems({"": str(error)})}
        return {**self._show(run), self.seed: fields["seed"], self.said: said}

    async def estimate(self, *, models: list[str], **fields: Any) -> Shown:
        """Show what each model and the whole run would cost."""
        try:
            lineup = await self._context.lineup()
            request = form.to_request(fields)
            return self._priced(lineup, request, models)
        except (form.BadField, StoreError) as error:
            return {self.said: summary.problems({"": str(error)})}

    async def open(self, request: gr.Request) -> Shown:
        """Fill a fresh page: the models as they stand now, and the run that the address names."""
        try:
            lineup = await self._context.lineup()
        except StoreError as error:
            return {self.said: summary.problems({"": str(error)})}
        wanted = str(request.query_params.get("run", ""))
        run = await lineup.runner.get(wanted) if wanted else None
        asked = run.request if run else Request(prompt=form.PROMPT)
        ready = {model.id: lineup.runner.ready(model) for model in lineup.catalogue.models}
        models = picker.lines(lineup.catalogue.models, ready)
        chosen = models_of(run) if run else self._context.first
        shown = self._priced(lineup, asked, chosen, models=models)
        if run is not None:
            return {**shown, **self._restored(run)}
        if wanted:
            missing = f"There is no run {wanted[:40]} here. It may be kept in another data folder."
            shown[self.said] = summary.problems({"run": missing})
        return shown

    async def retry(self, event: gr.EventData) -> Shown:
        """Try one model of a run again; the first attempt stays in the table."""
        runner = (await self._context.lineup()).runner
        run_id, job_id = _named(event)
        await runner.retry(run_id, job_id)
        run = await runner.get(run_id)
        return self._show(run) if run else {}

    async def again(self, event: gr.EventData) -> Shown:
        """Start a new run with the request and the models of the one shown."""
        runner = (await self._context.lineup()).runner
        run = await runner.get(_named(event)[0])
        if run is None:
            return {}
        return self._show(await runner.start(run.request, models_of(run)))

    async def halt(self, run_id: str) -> None:
        """Stop what can be stopped of the run that is shown."""
        await (await self._context.lineup()).runner.stop(run_id)

    async def halt_one(self, event: gr.EventData) -> None:
        """Stop one job."""
        await (await self._context.lineup()).runner.stop(*_named(event))

    def _unlisted(self, models: list[str]) -> dict[str, str]:
        """Say why a visitor of a public address may not name a folder or a Hub id of their own."""
        listed = {model.id for model in self._context.catalogue.models}
        if not self._context.public or listed.issuperset(models):
            return {}
        return {"models": "At a public address only the listed models can be compared."}

    def _show(self, run: Run) -> Shown:
        return {self.board: self._renderer.board(run), self.run: run.id}

    def _priced(self, lineup: Lineup, request: Request, chosen: list[str], **props: Any) -> Shown:
        known = [model.id for model in lineup.catalogue.models]
        costs = lineup.runner.estimates(request, list(dict.fromkeys(known + chosen)))
        asked = {model: costs[model] for model in chosen}
        return {
            self.picker: gr.HTML(chosen, costs=summary.in_words(costs), **props),
            self.said: summary.estimate(asked),
        }

    def _restored(self, run: Run) -> Shown:
        fields = form.from_request(run.request)
        widgets = {self.form[name]: value for name, value in fields.items()}
        return {**self._show(run), **widgets, self.lock: True}

    @property
    def restorable(self) -> list[Component]:
        """Every component that `open` may fill."""
        restored = [self.form[name] for name in form.from_request(Request(prompt=""))]
        return [self.picker, self.said, self.board, self.run, self.lock, *restored]


_UNPRICED = frozenset({"prompt", "negative_prompt", "seed"}) | frozenset(
    f"control_{name}" for name in ("parameters", "weight", "start", "end")
)


def models_of(run: Run) -> list[str]:
    """Return the ids of the models of a run, each once, in the order in which they were chosen."""
    return list(dict.fromkeys(job.model for job in run.jobs))


def _named(event: gr.EventData) -> tuple[str, str]:
    data: Mapping[str, Any] = event._data or {}  # pyright: ignore[reportPrivateUsage]
    return str(data.get("run", "")), str(data.get("job", ""))
