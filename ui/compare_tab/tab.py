"""The Compare tab: its layout, and the handlers of its form."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block

from backends.base import Request
from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from compare.prompts.template import BadVariants
from compare.records import Run, RunSpec
from compare.runs.validation import problems
from compare.store.errors import StoreError
from compare.visitor_keys import visitor_keys
from ui.board.renderer import Renderer
from ui.compare_tab import (
    backend_options,
    cost_line,
    form,
    hints,
    model_picker,
    results,
    settings_line,
    variants_row,
)
from ui.compare_tab.backend_options import BackendOptions
from ui.compare_tab.control_list import ControlList
from ui.compare_tab.form import SharedSettings
from ui.compare_tab.from_picture import FromPicture
from ui.compare_tab.memory import Memory
from ui.compare_tab.prompt_builder import PromptBuilder
from ui.compare_tab.results import Results, models_of
from ui.compare_tab.rewrite_panel import RewritePanel
from ui.compare_tab.second_step import SecondStepSection
from ui.compare_tab.sections import BadField, Fields, Section, Updates, Widgets
from ui.compare_tab.settings_line import panel
from ui.compare_tab.start_picture import StartPicture
from ui.compare_tab.variants_row import VariantsRow
from ui.context import Context
from ui.events import PLAIN, QUEUED, QUICK
from ui.page_files import call
from ui.visitors import visitor_id

FORM_ERRORS = (BadField, BadVariants, *results.START_ERRORS)
"""Errors of reading the form and of starting its runs, whose message is shown to the user."""

INTO_SIGHT = call("board.js", "intoSight")

# Fills the page with the run that its address names, unless the page shows an error.
RESTORE = """() => new URLSearchParams(location.search).has("run") &&
  !document.querySelector(".lu-said .lu-bad") &&
  document.querySelector("button.lu-restore")?.click()"""


class CompareTab:
    """Lays the tab out and handles its events; each handler calls `compare` and translates.

    `sections` are the parts of the form, in the order in which they are applied to a `RunSpec`.
    `message` is the line below the form: the estimated cost, or what is wrong.
    """

    def __init__(self, context: Context, renderer: Renderer, keys: gr.State) -> None:
        self.context = context
        self._renderer = renderer
        self._keys = keys
        self._layout()
        self.sections: Sequence[Section] = (
            self._settings,
            self._controls,
            self._start,
            self._options,
            self._rewrite,
            self._second,
            self._variants,
        )
        self.form: Widgets = {}
        for section in self.sections:
            self.form |= section.widgets
        self._wire()

    def _layout(self) -> None:
        context = self.context
        with gr.Column(elem_classes="lu-ask"):
            with gr.Row(elem_classes="lu-top"):
                prompt = form.prompt_box()
                rewrite = gr.Button("Rewrite", elem_classes="lu-open-rewrite")
                self._stop = gr.Button("Stop", elem_classes="lu-stop")
                self._compare = gr.Button("Compare", variant="primary", elem_classes="lu-go")
            self._rewrite = RewritePanel(context, self._keys, prompt, rewrite)
            self._variants = VariantsRow()
            self.picker = model_picker.component(context.first, adding=not context.public)
            self._line = settings_line.component()
            # Above the panels, so that an open one does not push what is wrong out of sight.
            self.message = gr.HTML(elem_classes=["lu-sum", "lu-said"], apply_default_css=False)
            self._settings = SharedSettings(prompt)
            with panel("control"):
                self._controls = ControlList(context)
            with panel("start"):
                self._start = StartPicture(context)
            with panel("second"):
                self._second = SecondStepSection(context)
            with panel("options"):
                self._options = BackendOptions()
            with panel("builder"):
                PromptBuilder(context, prompt, self._settings.widgets["negative_prompt"])
            with panel("presets"):
                self.memory = Memory()
            self._restore = gr.Button("Restore", visible="hidden", elem_classes="lu-restore")
        FromPicture(
            context,
            settings=self._settings,
            start=self._start,
            controls=self._controls,
            message=self.message,
        )
        self.results = Results(context, self._renderer, self._keys, self.message)

    def _wire(self) -> None:
        variants, settings = self._variants, self._settings
        inputs: dict[str, Any] = {**self.form, "models": self.picker}
        estimated = [self.picker, self.message, self._line, *variants.count_outputs]
        second = self._second.model
        second.change(None, second, None, js=call("options.js", "second"))
        settings_line.follow(self._line, {**settings.widgets, "locked": settings.lock})
        # Gradio rebuilds each output of a handler, changed or not, at each click: so Compare, whose
        # delay is felt, has only those that it changes.
        self._compare.click(
            self.compare,
            inputs_kwargs={
                **inputs,
                "locked": settings.lock,
                "keys": self._keys,
                "announced": variants.announced,
            },
            outputs=[
                *self.results.outputs,
                settings.seed,
                self.message,
                *self._rewrite.outputs,
            ],
            **PLAIN,
        ).then(None, js=variants_row.ANNOUNCE).then(None, js=settings_line.REVEAL).then(
            None, js=INTO_SIGHT
        )
        self._stop.click(self.results.stop, self.results.id, self.message, **QUICK)
        self.memory.follow({**self._remembered(), "models": self.picker})
        # Typing a prompt without variants costs no round trip: its price is that of any other.
        prompt = self.form["prompt"]
        prompt.change(None, prompt, None, js=variants_row.COUNT)  # pyright: ignore[reportAttributeAccessIssue]
        priced = [widget for name, widget in inputs.items() if name not in _UNPRICED]
        gr.on(
            [variants.recount.click, *(widget.change for widget in priced)],  # pyright: ignore[reportAttributeAccessIssue]
            self.estimate,
            inputs_kwargs={**inputs, "keys": self._keys},
            outputs=estimated,
            trigger_mode="always_last",
            **PLAIN,
        )
        self._compare.click(None, self.picker, None, js=call("picker.js", "remember"))
        variants.announce.click(
            self.announce,
            inputs_kwargs={**inputs, "keys": self._keys},
            outputs=estimated,
            **PLAIN,
        )
        restored = self._restore.click(self.restore, None, self.restorable, **QUEUED)
        self._controls.preview_after(restored)
        # On a busy machine an estimate of the untouched page may arrive after the restored values.
        restored.then(None, js=variants_row.RECOUNT)

    @property
    def refreshed(self) -> Sequence[Block]:
        """The components that `open` and `refresh` may change."""
        outputs = [block for section in self.sections for block in section.refresh_outputs]
        return [self.picker, self.message, *outputs]

    @property
    def restorable(self) -> Sequence[Block]:
        """The components that `restore` may change."""
        outputs = [block for section in self.sections for block in section.outputs]
        return [self.picker, self.message, *self.results.outputs, *outputs]

    async def compare(
        self,
        request: gr.Request,
        *,
        models: object,
        locked: bool,
        keys: Mapping[str, str],
        announced: int,
        **fields: Any,
    ) -> Updates:
        """Start a run for each variant and show the board of the first, which updates itself.

        Several runs are started only if the page has `announced` their number before.
        """
        if not locked:
            fields["seed"] = form.random_seed()
        try:
            models = form.parse_models(models)
            lineup, specs = await self._specs(fields, models)
            if wrong := self._problems(lineup, specs, models):
                return {self.message: cost_line.problems(wrong)}
            with visitor_keys(keys):
                estimate = await self._estimate(lineup, specs, models)
            if len(specs) not in (1, announced):
                return {self.message: variants_row.UNANNOUNCED}
            with visitor_keys(keys):
                runs = await lineup.runner.start_all(
                    specs, models, visitor=visitor_id(request.headers)
                )
        except FORM_ERRORS as error:
            return {self.message: cost_line.problem(error)}
        return {
            **await self.results.show(lineup, runs[0], request),
            **self._rewrite.show(specs[0], fields["rewrite"]),
            self._settings.seed: fields["seed"],
            self.message: estimate,
        }

    async def estimate(self, *, models: object, keys: Mapping[str, str], **fields: Any) -> Updates:
        """Show the cost of each model and of the whole run, and the number of variants."""
        try:
            models = form.parse_models(models)
            lineup, specs = await self._specs(fields, models)
            with visitor_keys(keys):
                updates = await self._priced(lineup, specs, models)
            updates |= self._variants.show_count(fields, len(specs))
            updates[self._line] = settings_line.with_sections(self._summaries(fields, models))
            found = self._problems(lineup, specs, models)
            wrong = {name: text for name, text in found.items() if name not in _MAY_BE_MISSING}
            return {**updates, self.message: cost_line.problems(wrong)} if wrong else updates
        except BadVariants as error:
            updates = self._variants.show_count(fields, 0)
            return {**updates, self.message: cost_line.problem(error)}
        except (BadField, UnknownModel, StoreError) as error:
            return {self.message: cost_line.problem(error)}

    async def announce(self, *, models: object, keys: Mapping[str, str], **fields: Any) -> Updates:
        """Ask for another click, and say how many runs it starts."""
        updates = await self.estimate(models=models, keys=keys, **fields)
        count = updates.get(self._variants.announced, 1)
        return {**updates, self.message: variants_row.press_again(count, updates[self.message])}

    async def open(self, request: gr.Request) -> Updates:
        """Fill a fresh page with the current state of the models; `restore` comes after it."""
        chosen = self.context.first
        try:
            lineup = await self.context.visited()
            run_id, run = await _requested_run(lineup, request)
        except StoreError as error:
            return {self.message: cost_line.problem(error)}
        if not run_id:
            lineup.availability.warm(chosen)
        specs = [RunSpec(Request(prompt=form.PROMPT))]
        updates = await self._priced(lineup, specs, chosen, models=model_picker.lines(lineup))
        if run_id and run is None:
            updates[self.message] = cost_line.problems({"run": results.missing(run_id)})
        return {**updates, **self._refreshed_sections(lineup)}

    async def restore(self, request: gr.Request) -> Updates:
        """Show the run that the address names, and fill the form with its specification."""
        lineup = await self.context.lineup()
        _, run = await _requested_run(lineup, request)
        if run is None:
            return {}
        chosen = models_of(run)
        lineup.availability.warm(chosen)
        updates = await self._priced(lineup, [run.spec], chosen, value=chosen)
        updates |= await self.context.off_loop(self._values_for, run.spec, lineup)
        return {**updates, **await self.results.show(lineup, run, request)}

    def _values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Return the form's fields that ask for `spec`; blocks, as it decodes pictures."""
        updates: Updates = {}
        for section in self.sections:
            updates |= section.values_for(spec, lineup)
        return updates

    async def refresh(self, keys: Mapping[str, str]) -> Updates:
        """Show which models are ready, with the keys that the visitor has entered meanwhile.

        The choice of models is left alone: the visitor may be changing it at this moment.
        """
        try:
            lineup = await self.context.visited()
        except StoreError as error:
            return {self.message: cost_line.problem(error)}
        with visitor_keys(keys):
            models = gr.HTML(models=model_picker.lines(lineup))
            return {self.picker: models, **self._refreshed_sections(lineup)}

    def _remembered(self) -> Widgets:
        """Return the form's fields that a browser can keep, by name."""
        shown = {name: box for name, box in self.form.items() if not isinstance(box, gr.State)}
        return {**shown, "locked": self._settings.lock}

    def _summaries(self, fields: Fields, models: Sequence[str]) -> dict[str, str]:
        """Return what each section with a panel is set to, by the panel's name."""
        return {
            "control": self._controls.summary(fields),
            "start": self._start.summary(fields),
            "second": self._second.summary(fields),
            "options": self._options.summary(fields, model_picker.backends(models, fields)),
        }

    def _refreshed_sections(self, lineup: Lineup) -> Updates:
        updates: Updates = {}
        for section in self.sections:
            updates |= section.refresh(lineup)
        return updates

    async def _specs(
        self, fields: Fields, models: Sequence[str]
    ) -> tuple[Lineup, Sequence[RunSpec]]:
        """Return the open Lineup, and what the form asks of `models`."""
        lineup = await self.context.lineup()
        specs = await form.to_specs(fields, self.sections, self.context)
        backends = model_picker.backends(models, fields)
        return lineup, [backend_options.for_backends(spec, backends) for spec in specs]

    def _problems(
        self, lineup: Lineup, specs: Sequence[RunSpec], models: Sequence[str]
    ) -> dict[str, str]:
        """Return a sentence for each field that keeps the runs from starting, by field name."""
        for spec in specs:
            if found := problems(spec, models, lineup.catalogue):
                return found
        second = [spec.second_step.model for spec in specs if spec.second_step]
        return self._not_for_visitors(specs[0], [*models, *second]) if self.context.public else {}

    def _not_for_visitors(self, spec: RunSpec, models: Sequence[str]) -> dict[str, str]:
        """Return what a visitor of a public address may not use.

        These are models by their folder or Hub id, and files outside the owner's folders.
        """
        found: dict[str, str] = {}
        listed = {model.id for model in self.context.catalogue.models}
        if not listed.issuperset(models):
            found["models"] = "At a public address only the listed models can be used."
        if sentence := backend_options.outside_folders(spec):
            found["options"] = sentence
        return found

    async def _estimate(
        self, lineup: Lineup, specs: Sequence[RunSpec], chosen: Sequence[str]
    ) -> str:
        """Return the line below the form as HTML; it counts the models that can draw."""
        able, unable = model_picker.able(lineup, chosen)
        costs = [lineup.availability.estimates(spec.request, able) for spec in specs]
        second = self._second.expected(lineup, specs[0])
        spent = await lineup.runner.spent_today()
        today = cost_line.today(*spent, public=self.context.public) if spent else ""
        line = cost_line.estimate(*costs, second=second, unable=unable, today=today)
        return line + await hints.hints(lineup, specs, able)

    async def _priced(
        self, lineup: Lineup, specs: Sequence[RunSpec], chosen: Sequence[str], **props: Any
    ) -> Updates:
        """Return the estimated costs for the picker and the message; `props` go to the picker.

        The picker's value is left alone: the visitor may have clicked again since the event.
        """
        known = [model.id for model in lineup.catalogue.models]
        added = model_picker.added(lineup, chosen)
        ids = [*known, *(line["id"] for line in added if line["family"])]
        costs = cost_line.format_costs(lineup.availability.estimates(specs[0].request, ids))
        return {
            self.picker: gr.HTML(costs=costs, added=added, **props),
            self.message: await self._estimate(lineup, specs, chosen),
        }


_MAY_BE_MISSING = frozenset({"prompt", "models"})
"""Fields that may be empty while a form is filled in: only Compare complains."""

_UNPRICED = frozenset(
    {"prompt", "negative_prompt", "seed", "rewrite"}
    | {f"then_{name}" for name in ("prompt", "strength")}
    | {f"control_{name}" for name in ("parameters", "weight", "start", "end")}
)
"""Fields that no price depends on."""


async def _requested_run(lineup: Lineup, request: gr.Request) -> tuple[str, Run | None]:
    """Return the id and the run that the page's address names, ("", None) if it names none."""
    id = str(request.query_params.get("run", ""))
    return id, await lineup.runner.get(id) if id else None
