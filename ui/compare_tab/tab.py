"""The Compare tab: ask once, watch every model answer, choose."""

import random
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
from ui.compare_tab import backend_options, cost_line, form, model_picker, results, variants_row
from ui.compare_tab.control_list import ControlList
from ui.compare_tab.prompt_builder import PromptBuilder
from ui.compare_tab.results import Results, models_of
from ui.compare_tab.rewrite_panel import RewritePanel
from ui.compare_tab.second_step import SecondStepSection
from ui.compare_tab.start_picture import StartPicture
from ui.compare_tab.variants_row import COUNT, RECOUNT, VariantsRow
from ui.context import Context

MOST_SEED = 2**32 - 1
MISTAKES = (form.BadField, BadVariants, *results.MISTAKES)
Shown = dict[Block, Any]

# Ctrl/Cmd+Enter in any field presses Compare, as everywhere.
KEYS = """() => document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.activeElement?.blur();
    setTimeout(() => document.querySelector("button.lu-go")?.click(), 50);
  }
})"""

# A page whose address names a run goes on to fill itself with it, unless something is wrong.
RESTORE = """() => new URLSearchParams(location.search).has("run") &&
  !document.querySelector(".lu-said .lu-bad") &&
  document.querySelector("button.lu-restore")?.click()"""


class CompareTab:
    """Lays the tab out and answers its events; each handler calls `compare` and translates."""

    def __init__(self, context: Context, renderer: Renderer, keys: gr.State) -> None:
        self._context = context
        self._renderer = renderer
        self._keys = keys
        self._layout()
        self._wire()

    def _layout(self) -> None:
        with gr.Column(elem_classes="lu-ask"):
            with gr.Row(elem_classes="lu-top"):
                prompt = form.prompt_box()
                rewrite = gr.Button("Rewrite", elem_classes="lu-open-rewrite")
                self.stop = gr.Button("Stop", elem_classes="lu-stop")
                self.go = gr.Button("Compare  Ctrl ↵", variant="primary", elem_classes="lu-go")
            self._rewriting = RewritePanel(self._context, self._keys, prompt, rewrite)
            self._several = VariantsRow(self._context)
            chosen, adding = self._context.first, not self._context.public
            self.picker = model_picker.component(chosen, adding=adding)
            with gr.Row(elem_classes="lu-set"):
                shared = form.settings()
                self.seed, self.lock, self.dice = form.seed()
            with gr.Row(elem_classes="lu-folds"):
                with _fold("Prompt builder"):
                    PromptBuilder(self._context, prompt, shared["negative_prompt"])
                with _fold("Control picture"):
                    self.controls = ControlList(self._context)
                with _fold("Start picture"):
                    self.start = StartPicture()
                with _fold("Second step"):
                    self.second = SecondStepSection(self._context)
                with _fold("Backend options"):
                    self.own = backend_options.build()
            self.said = gr.HTML(elem_classes=["lu-sum", "lu-said"], apply_default_css=False)
            self.restoring = gr.Button("Restore", visible="hidden", elem_classes="lu-restore")
        self.shown = Results(self._context, self._renderer, self._keys, self.said)
        self.form: form.Widgets = {
            "prompt": prompt,
            **shared,
            "seed": self.seed,
            **self.controls.widgets,
            **self.start.widgets,
            **self.second.widgets,
            **self.own,
            **self._several.widgets,
            "rewrite": self._rewriting.record,
        }

    def _wire(self) -> None:
        asked: dict[str, Any] = {**self.form, "models": self.picker}
        told = [self.picker, self.said, *self._several.shown]
        # Gradio builds each output that is left alone anew, at each click: so Compare has but few.
        self.go.click(
            self.compare,
            inputs_kwargs={
                **asked,
                "locked": self.lock,
                "keys": self._keys,
                "told": self._several.told,
            },
            outputs=[*self.shown.parts, self.seed, self.said, *self._rewriting.shown],
            **form.PLAIN,
        ).then(None, js=variants_row.ANNOUNCE)
        self.stop.click(self.shown.stop, self.shown.id, None, **form.QUICK)
        self.dice.click(lambda: random.randint(0, MOST_SEED), None, self.seed, **form.QUICK)
        # What the price depends on; typing a prompt without variants costs no round trip.
        self.form["prompt"].change(None, self.form["prompt"], None, js=COUNT)  # pyright: ignore[reportAttributeAccessIssue]
        priced = [widget for name, widget in asked.items() if name not in _UNPRICED]
        gr.on(
            [self._several.recount.click, *(widget.change for widget in priced)],  # pyright: ignore[reportAttributeAccessIssue]
            self.estimate,
            inputs_kwargs=asked,
            outputs=told,
            trigger_mode="always_last",
            **form.PLAIN,
        )
        self._several.tell.click(self.tell, inputs_kwargs=asked, outputs=told, **form.PLAIN)
        restored = self.restoring.click(self.restore, None, self.restorable, **form.QUICK)
        self.controls.preview_after(restored)
        # On a busy machine an estimate of the untouched page may come in after what is restored.
        restored.then(None, js=RECOUNT)

    async def compare(
        self, *, models: list[str], locked: bool, keys: Mapping[str, str], told: int, **fields: Any
    ) -> Shown:
        """Start a run for each variant and show the first board, which follows its run by itself.

        Several runs start only where the page has said before how many they are.
        """
        if not locked:
            fields["seed"] = random.randint(0, MOST_SEED)
        try:
            lineup, specs = await self._asked(fields)
            if wrong := self._wrong(lineup, specs, models):
                return {self.said: cost_line.problems(wrong)}
            said = self._said(lineup, specs, models)
            if len(specs) not in (1, told):
                return {self.said: variants_row.UNANNOUNCED}
            with visitor_keys(keys):
                runs = await lineup.runner.start_all(specs, models)
        except MISTAKES as error:
            return {self.said: cost_line.problems({"": str(error)})}
        rewrite = self._rewriting.standing(specs[0], fields["rewrite"])
        begun = {self.seed: fields["seed"], self.said: said}
        return {**await self.shown.show(lineup, runs[0]), **rewrite, **begun}

    async def estimate(self, *, models: list[str], **fields: Any) -> Shown:
        """Show what each model and the whole run would cost, and how many variants there are."""
        try:
            lineup, specs = await self._asked(fields)
            shown = self._priced(lineup, specs, models)
            shown |= self._several.show(fields, len(specs))
            wrong = self._wrong(lineup, specs, models)
            told = {name: sentence for name, sentence in wrong.items() if name not in _TO_COME}
            return {**shown, self.said: cost_line.problems(told)} if told else shown
        except BadVariants as error:
            shown = self._several.show(fields, 0)
            return {**shown, self.said: cost_line.problems({"": str(error)})}
        except (form.BadField, UnknownModel, StoreError) as error:
            return {self.said: cost_line.problems({"": str(error)})}

    async def tell(self, *, models: list[str], **fields: Any) -> Shown:
        """Say how many runs another click starts: the last one may not have meant so many."""
        shown = await self.estimate(models=models, **fields)
        number = shown.get(self._several.told, 1)
        return {**shown, self.said: variants_row.again(number, shown[self.said])}

    async def open(self, request: gr.Request) -> Shown:
        """Fill a fresh page: the models as they stand now. `restore` comes after it."""
        chosen = self._context.first
        try:
            lineup = await self._context.visited()
            wanted, run = await _wanted(lineup, request)
        except StoreError as error:
            return {self.said: cost_line.problems({"": str(error)})}
        if not wanted:
            lineup.availability.warm(chosen)
        shown = self._priced(
            lineup, [RunSpec(Request(prompt=form.PROMPT))], chosen, models=_lines(lineup)
        )
        if wanted and run is None:
            missing = f"There is no run {wanted[:40]} here. It may be kept in another data folder."
            shown[self.said] = cost_line.problems({"run": missing})
        return {**shown, **self.second.choices(lineup)}

    async def restore(self, request: gr.Request) -> Shown:
        """Show the run that the address names, and fill the form with what it asked for."""
        lineup = await self._context.lineup()
        _, run = await _wanted(lineup, request)
        if run is None:
            return {}
        chosen = models_of(run)
        lineup.availability.warm(chosen)
        shown = self._priced(lineup, [run.spec], chosen, value=chosen)
        return {**shown, **await self._restored(lineup, run)}

    async def refresh(self, keys: Mapping[str, str]) -> Shown:
        """Show which models are ready, with the keys that the visitor has typed meanwhile.

        What is chosen is left alone: the visitor may be choosing at this very moment.
        """
        try:
            lineup = await self._context.visited()
        except StoreError as error:
            return {self.said: cost_line.problems({"": str(error)})}
        with visitor_keys(keys):
            return {self.picker: gr.HTML(models=_lines(lineup)), **self.second.choices(lineup)}

    def _unlisted(self, models: list[str]) -> dict[str, str]:
        """Say why a visitor of a public address may not name a folder or a Hub id of their own."""
        listed = {model.id for model in self._context.catalogue.models}
        if not self._context.public or listed.issuperset(models):
            return {}
        return {"models": "At a public address only the listed models can be used."}

    def _beyond(self, spec: RunSpec) -> dict[str, str]:
        said = backend_options.beyond_the_folders(spec) if self._context.public else ""
        return {"options": said} if said else {}

    async def _asked(self, fields: Mapping[str, Any]) -> tuple[Lineup, Sequence[RunSpec]]:
        """Return what the form asks for: a spec for each variant of the prompt."""
        lineup = await self._context.lineup()
        spec = self.second.asked(form.to_spec(fields), fields)
        return lineup, await self._several.of(spec, fields)

    def _wrong(self, lineup: Lineup, specs: Sequence[RunSpec], models: list[str]) -> dict[str, str]:
        found = [problems(spec, models, lineup.catalogue) for spec in specs]
        then = [spec.second_step.model for spec in specs if spec.second_step]
        return next(filter(None, found), {}) or {
            **self._unlisted(models + then),
            **self._beyond(specs[0]),
        }

    def _said(self, lineup: Lineup, specs: Sequence[RunSpec], chosen: list[str]) -> str:
        costs = [lineup.availability.estimates(spec.request, chosen) for spec in specs]
        return cost_line.estimate(*costs, second=self.second.expected(lineup, specs[0]))

    def _priced(
        self, lineup: Lineup, specs: Sequence[RunSpec], chosen: list[str], **props: Any
    ) -> Shown:
        """What the chosen models cost; `props` are more of the picker's.

        The choice itself is the visitor's, who may have clicked again since this was asked.
        """
        known = [model.id for model in lineup.catalogue.models]
        costs = lineup.availability.estimates(specs[0].request, list(dict.fromkeys(known + chosen)))
        return {
            self.picker: gr.HTML(costs=cost_line.in_words(costs), **props),
            self.said: self._said(lineup, specs, chosen),
        }

    async def _restored(self, lineup: Lineup, run: Run) -> Shown:
        fields = form.from_request(run.request)
        widgets: Shown = {self.form[name]: value for name, value in fields.items()}
        for part in (self._several, self._rewriting, self.second):
            widgets |= part.standing(run.spec)
        for part in (self.controls, self.start):
            widgets |= part.standing(lineup, run.request)
        widgets |= backend_options.standing(self.own, run.request)
        return {**await self.shown.show(lineup, run), **widgets, self.lock: True}

    @property
    def refreshed(self) -> list[Block]:
        """Every component that `open` and `refresh` may change."""
        return [self.picker, self.said, self.second.model]

    @property
    def restorable(self) -> list[Block]:
        """Every component that `restore` may fill."""
        restored = [self.form[name] for name in form.from_request(Request(prompt=""))]
        own = [self.picker, self.said, *self.shown.parts, self.lock, self._several.which]
        given = [*self.controls.shown, *self.start.shown, *self.own.values()]
        return [*own, *restored, *self._rewriting.shown, *self.second.shown, *given]


_TO_COME = frozenset({"prompt", "models"})
"""What may be missing while a form is filled: only Compare complains of it."""

_UNPRICED = frozenset(
    {"prompt", "negative_prompt", "seed", "rewrite"}
    | {f"then_{name}" for name in ("prompt", "strength")}
    | {f"control_{name}" for name in ("parameters", "weight", "start", "end")}
)


def _fold(name: str) -> gr.Accordion:
    return gr.Accordion(name, open=False, elem_classes="lu-more-settings")


def _lines(lineup: Lineup) -> list[dict[str, str]]:
    ready = {model.id: lineup.availability.ready(model) for model in lineup.catalogue.models}
    return model_picker.lines(lineup.catalogue.models, ready)


async def _wanted(lineup: Lineup, request: gr.Request) -> tuple[str, Run | None]:
    """Return the run that the page's address names, its id first."""
    id = str(request.query_params.get("run", ""))
    return id, await lineup.runner.get(id) if id else None
