"""The section for the second step: another model goes on from each picture of the first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import gradio as gr
from gradio.blocks import Block

from backends.base import Model, Readiness, State
from backends.fit import STRENGTH
from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from compare.records import Cost, RunSpec, SecondStep
from ui.compare_tab import settings_line
from ui.compare_tab.sections import Fields, Section, Updates
from ui.context import Context
from ui.events import QUICK

NONE = ("none", "")
HINT = (
    "Each picture goes on to this model, which draws it anew after its own prompt: "
    "the more strength, the less is left of it."
)


class SecondStepSection(Section):
    """The second model, its prompt and its strength."""

    def __init__(self, context: Context) -> None:
        self._catalogue = context.catalogue
        with gr.Row(elem_classes="lu-second"):
            self.model = gr.Dropdown(
                [NONE, *((model.label, model.id) for model in self._candidates())],
                value="",
                label="Model",
                allow_custom_value=not context.public,
                scale=2,
                min_width=220,
            )
            self._prompt = gr.Textbox(
                "",
                label="Its prompt",
                placeholder="the same prompt",
                max_lines=3,
                max_length=40_000,
                scale=3,
                min_width=220,
            )
            self._strength = gr.Slider(
                0.05, 1, STRENGTH, step=0.05, label="Strength", scale=2, min_width=180
            )
        gr.HTML(HINT, elem_classes="lu-sum", apply_default_css=False)
        self.model.change(self._strength_for, self.model, self._strength, **QUICK)
        self.widgets = {
            "then_model": self.model,
            "then_prompt": self._prompt,
            "then_strength": self._strength,
        }

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with the second step, unchanged if no second model is chosen."""
        id = str(fields.get("then_model") or "").strip()
        if not id:
            return spec
        strength = float(fields.get("then_strength") or STRENGTH)
        second = SecondStep(
            model=id,
            prompt=str(fields.get("then_prompt") or "").strip(),
            strength=strength if self._takes_strength(id) else None,
        )
        return replace(spec, second_step=second)

    def summary(self, fields: Fields) -> str:
        """Return what is set, for the line of settings: the second model's label."""
        id = str(fields.get("then_model") or "").strip()
        try:
            return self._catalogue.find(id).label if id else settings_line.NONE
        except UnknownModel:
            return id

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the second step of `spec`."""
        second = spec.second_step or SecondStep(model="")
        return {
            self.model: second.model,
            self._prompt: second.prompt,
            self._strength: STRENGTH if second.strength is None else second.strength,
        }

    @property
    def refresh_outputs(self) -> Sequence[Block]:
        """The choice of the second model."""
        return [self.model]

    def refresh(self, lineup: Lineup) -> Updates:
        """Label each model with what it still needs, and list those that are ready first."""
        states = [(lineup.availability.ready(model).state, model) for model in self._candidates()]
        states.sort(key=lambda pair: pair[0] is not Readiness.READY)
        choices = [(_label(model, state), model.id) for state, model in states]
        return {self.model: gr.Dropdown(choices=[NONE, *choices])}

    def expected(self, lineup: Lineup, spec: RunSpec) -> tuple[str, Cost] | None:
        """Return the second model's label and the expected cost of one of its pictures."""
        if spec.second_step is None:
            return None
        id = spec.second_step.model
        try:
            return self._catalogue.find(id).label, lineup.availability.expected(spec, [id])[-1]
        except UnknownModel:
            return id, Cost()

    def _strength_for(self, id: str | None) -> gr.Slider:
        return gr.Slider(interactive=not id or self._takes_strength(id))

    def _takes_strength(self, id: str) -> bool:
        try:
            return "strength" in self._catalogue.find(id).supports
        except UnknownModel:
            return True  # the error reported is about the model, not about its strength

    def _candidates(self) -> Iterator[Model]:
        """Yield the models that take a picture and can still be used."""
        gone = (State.RETIRED, State.NO_API)
        for model in self._catalogue.models:
            if "image" in model.supports and model.status.state not in gone:
                yield model


def _label(model: Model, state: Readiness) -> str:
    return model.label if state is Readiness.READY else f"{model.label} ({state})"
