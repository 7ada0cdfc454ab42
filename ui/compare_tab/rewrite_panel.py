"""The section for rewriting: the user's prompt beside a chat model's rewrite of it."""

from collections.abc import Mapping, Sequence

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from markupsafe import Markup

from backends.base import Readiness
from backends.errors import BackendError
from compare.lineup import Lineup
from compare.prompts.rewrite import ChatModel, Rewritten, recorded
from compare.records import RunSpec
from compare.store.errors import StoreError
from compare.visitor_keys import visitor_keys
from ui.compare_tab.sections import Fields, Section, Updates
from ui.context import Context
from ui.events import QUICK, SLOW

COST_HINT = Markup(
    "One call to the chat model. What it costs is <b>unknown</b>: no price list of Lineup has it."
)
REWRITTEN_HINT = "What the chat model makes of it shows here. Change it as you like."
ERROR = Markup('<span class="lu-bad" role="alert">{}</span>')
ORIGIN = Markup('<span class="lu-from">Rewritten by {} from “{}”. Rewrite shows both.</span>')


class RewritePanel(Section):
    """The panel below the prompt, and the line that tells where a rewritten prompt comes from.

    `record` is a state with the rewrite that the prompt was made from: `original`, `by` (the chat
    model) and `rewritten`. It is empty for a prompt that was not rewritten.
    """

    def __init__(
        self, context: Context, keys: gr.State, prompt: Component, opener: gr.Button
    ) -> None:
        self._context = context
        self._prompt = prompt
        self.record = gr.State({})
        self._by = gr.State("")
        self._origin = gr.HTML(elem_classes=["lu-sum", "lu-from-line"], apply_default_css=False)
        with gr.Column(visible=False, elem_classes="lu-rewrite") as self._panel:
            with gr.Row():
                self._original = _text_box("Your prompt", "")
                self._rewritten = _text_box("Rewritten", REWRITTEN_HINT)
            with gr.Row(elem_classes="lu-rewrite-row"):
                self._model = gr.Dropdown(
                    [], label="Chat model", allow_custom_value=True, scale=2, min_width=220
                )
                ask = gr.Button("Rewrite it", elem_classes="lu-ask-chat")
                use = gr.Button("Use it", elem_classes="lu-use-it")
                keep = gr.Button("Keep mine", elem_classes="lu-keep")
            self._message = gr.HTML(elem_classes="lu-sum", apply_default_css=False)
        self.widgets = {"rewrite": self.record}
        opened = [self._panel, self._original, self._rewritten, self._model, self._message]
        opener.click(self.open, [prompt, self.record, keys], opened, **QUICK)
        ask.click(
            self.rewrite,
            [self._original, self._model, keys],
            [self._rewritten, self._by, self._message],
            **SLOW,
        )
        closed = [prompt, self.record, self._origin, self._panel, self._message]
        use.click(self.use, [self._original, self._rewritten, self._by], closed, **QUICK)
        keep.click(self.keep, self._original, closed, **QUICK)

    @property
    def outputs(self) -> Sequence[Block]:
        """The record, and the line that tells of it."""
        return [self.record, self._origin]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with the rewrite in its provenance.

        The prompt may have become another since it was rewritten; `recorded` decides.
        """
        record = fields.get("rewrite")
        return recorded(spec, **record) if record else spec

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the rewrite in the provenance of `spec`."""
        return self.show(spec)

    def show(self, spec: RunSpec, record: Mapping[str, str] | None = None) -> Updates:
        """Show `record` if the prompt of `spec` still comes from a rewrite, otherwise clear it.

        Without a `record`, it is built from the provenance of `spec`.
        """
        original, by = spec.provenance.original_prompt, spec.provenance.rewritten_by
        if original is None or by is None:
            return {self.record: {}, self._origin: ""}
        record = record or {"original": original, "by": by, "rewritten": spec.request.prompt}
        return {self.record: record, self._origin: _origin(record)}

    async def open(
        self, prompt: str, record: Mapping[str, str], keys: Mapping[str, str]
    ) -> Updates:
        """Show the panel with the original prompt and the chat models to choose from."""
        try:
            rewriter = (await self._context.lineup()).rewriter
        except StoreError as error:
            return {self._panel: gr.Column(visible=True), self._message: ERROR.format(error)}
        with visitor_keys(keys):
            models = rewriter.models()
        return {
            self._panel: gr.Column(visible=True),
            self._original: record.get("original") or prompt,
            self._rewritten: prompt if record else "",
            self._model: gr.Dropdown([_choice(model) for model in models], value=models[0].id),
            self._message: _hint(models),
        }

    async def rewrite(self, original: str, model: str, keys: Mapping[str, str]) -> Updates:
        """Ask the chat model once; the prompt changes only when the user presses "Use it"."""
        try:
            rewriter = (await self._context.lineup()).rewriter
            with visitor_keys(keys):
                rewritten = await rewriter.rewrite(original, str(model or ""))
        except (BackendError, StoreError) as error:
            return {self._message: ERROR.format(error)}
        return {
            self._rewritten: rewritten.prompt,
            self._by: rewritten.by,
            self._message: _summary(rewritten),
        }

    def use(self, original: str, rewritten: str, by: str) -> Updates:
        """Put the rewritten prompt into the prompt's box, and record what it was made from."""
        if not rewritten.strip() or not by:
            sentence = "Nothing is rewritten yet. Press “Rewrite it” first."
            return {self._message: ERROR.format(sentence)}
        record = {"original": original, "by": by, "rewritten": rewritten}
        return {self._prompt: rewritten, **self._close(record)}

    def keep(self, original: str) -> Updates:
        """Put the original prompt back into the prompt's box, and clear the record."""
        return {self._prompt: original, **self._close({})}

    def _close(self, record: Mapping[str, str]) -> Updates:
        origin = _origin(record) if record else ""
        hidden = gr.Column(visible=False)
        return {self.record: record, self._origin: origin, self._panel: hidden, self._message: ""}


def _text_box(label: str, placeholder: str) -> gr.Textbox:
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


def _hint(models: Sequence[ChatModel]) -> str:
    """Return what a rewrite costs, or what to do if no chat model is ready."""
    first = models[0].ready
    if first.state is Readiness.READY:
        return str(COST_HINT)
    html = Markup("No chat model can be asked yet. Type a key in the Keys tab. {}")
    return str(html.format(first.sentence))


def _summary(rewritten: Rewritten) -> str:
    html = Markup("<b>{}</b> took {:.1f} s · {}. Change it as you like, then use it or keep yours.")
    return str(html.format(rewritten.by, rewritten.seconds, rewritten.cost))


def _origin(record: Mapping[str, str]) -> str:
    return str(ORIGIN.format(record["by"], record["original"]))
