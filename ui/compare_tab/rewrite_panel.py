"""The rewrite: the prompt as it was written, beside what a chat model makes of it."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.blocks import Block, BlockContext
from gradio.components import Component
from markupsafe import Markup

from backends.base import Readiness
from backends.errors import BackendError
from compare.prompts.rewrite import ChatModel, Rewritten
from compare.records import RunSpec
from compare.store.errors import StoreError
from compare.visitor_keys import visitor_keys
from ui.compare_tab.control_picture import SLOW
from ui.compare_tab.form import QUICK
from ui.context import Context

Shown = dict[Block, Any]
ASKS = Markup(
    "One call to the chat model. What it costs is <b>unknown</b>: no price list of Lineup has it."
)
WAITS = "What the chat model makes of it shows here. Change it as you like."
BAD = Markup('<span class="lu-bad" role="alert">{}</span>')
FROM = Markup('<span class="lu-from">Rewritten by {} from “{}”. Rewrite shows both.</span>')


class RewritePanel:
    """Lays the panel out below the prompt; `record` is the rewrite that the prompt comes from.

    It holds `original`, `by` and `rewritten`, and is empty for a prompt that nobody rewrote.
    """

    def __init__(
        self, context: Context, keys: gr.State, prompt: Component, opener: gr.Button
    ) -> None:
        self._context = context
        self._prompt = prompt
        self.record = gr.State({})
        self._by = gr.State("")
        self.line = gr.HTML(elem_classes=["lu-sum", "lu-from-line"], apply_default_css=False)
        with gr.Column(visible=False, elem_classes="lu-rewrite") as self._panel:
            with gr.Row():
                self._original = _box("Your prompt", "")
                self._rewritten = _box("Rewritten", WAITS)
            with gr.Row(elem_classes="lu-rewrite-row"):
                self._model = gr.Dropdown(
                    [], label="Chat model", allow_custom_value=True, scale=2, min_width=220
                )
                ask = gr.Button("Rewrite it", elem_classes="lu-ask-chat")
                use = gr.Button("Use it", elem_classes="lu-use-it")
                keep = gr.Button("Keep mine", elem_classes="lu-keep")
            self._said = gr.HTML(elem_classes="lu-sum", apply_default_css=False)
        opened = [self._panel, self._original, self._rewritten, self._model, self._said]
        opener.click(self.open, [prompt, self.record, keys], opened, **QUICK)
        ask.click(
            self.ask,
            [self._original, self._model, keys],
            [self._rewritten, self._by, self._said],
            **{**QUICK, **SLOW},
        )
        closed = [prompt, self.record, self.line, self._panel, self._said]
        use.click(self.use, [self._original, self._rewritten, self._by], closed, **QUICK)
        keep.click(self.keep, self._original, closed, **QUICK)

    @property
    def shown(self) -> list[Component | BlockContext]:
        """What `standing` may change."""
        return [self.record, self.line]

    async def open(self, prompt: str, record: Mapping[str, str], keys: Mapping[str, str]) -> Shown:
        """Show the panel, with the prompt as its writer wrote it and who could rewrite it."""
        try:
            rewriter = (await self._context.lineup()).rewriter
        except StoreError as error:
            return {self._panel: gr.Column(visible=True), self._said: BAD.format(error)}
        with visitor_keys(keys):
            models = rewriter.models()
        return {
            self._panel: gr.Column(visible=True),
            self._original: record.get("original") or prompt,
            self._rewritten: prompt if record else "",
            self._model: gr.Dropdown([_choice(model) for model in models], value=models[0].id),
            self._said: _first_words(models),
        }

    async def ask(self, original: str, model: str, keys: Mapping[str, str]) -> Shown:
        """Ask the chat model once; nothing is used before a person says so."""
        try:
            rewriter = (await self._context.lineup()).rewriter
            with visitor_keys(keys):
                made = await rewriter.rewrite(original, str(model or ""))
        except (BackendError, StoreError) as error:
            return {self._said: BAD.format(error)}
        return {self._rewritten: made.prompt, self._by: made.by, self._said: _told(made)}

    def use(self, original: str, rewritten: str, by: str) -> Shown:
        """Put the rewritten prompt into the prompt's box, and remember what it was made of."""
        if not rewritten.strip() or not by:
            return {self._said: BAD.format("Nothing is rewritten yet. Press “Rewrite it” first.")}
        record = {"original": original, "by": by, "rewritten": rewritten}
        closed = self._closed(record)
        return {self._prompt: rewritten, **closed}

    def keep(self, original: str) -> Shown:
        """Put the writer's own prompt back; no rewrite is remembered."""
        return {self._prompt: original, **self._closed({})}

    def standing(self, spec: RunSpec, record: Mapping[str, str] | None = None) -> Shown:
        """Show the rewrite that a prompt comes from, in place of `record`."""
        original, by = spec.provenance.original_prompt, spec.provenance.rewritten_by
        if original is None or by is None:
            return {self.record: {}, self.line: ""}
        record = record or {"original": original, "by": by, "rewritten": spec.request.prompt}
        return {self.record: record, self.line: _line(record)}

    def _closed(self, record: Mapping[str, str]) -> Shown:
        line = _line(record) if record else ""
        hidden = gr.Column(visible=False)
        return {self.record: record, self.line: line, self._panel: hidden, self._said: ""}


def _box(label: str, placeholder: str) -> gr.Textbox:
    return gr.Textbox(
        "",
        label=label,
        placeholder=placeholder,
        lines=3,
        max_lines=8,
        max_length=40_000,
        min_width=260,
    )


def _choice(model: ChatModel) -> tuple[str, str]:
    ready = model.ready.state is Readiness.READY
    return (model.label if ready else f"{model.label} ({model.ready.state})", model.id)


def _first_words(models: list[ChatModel]) -> str:
    first = models[0].ready
    if first.state is Readiness.READY:
        return str(ASKS)
    return str(
        Markup("No chat model can be asked yet. Type a key in the Keys tab. {}").format(
            first.sentence
        )
    )


def _told(made: Rewritten) -> str:
    words = Markup(
        "<b>{}</b> took {:.1f} s · {}. Change it as you like, then use it or keep yours."
    )
    return str(words.format(made.by, made.seconds, made.cost))


def _line(record: Mapping[str, str]) -> str:
    return str(FROM.format(record["by"], record["original"]))
