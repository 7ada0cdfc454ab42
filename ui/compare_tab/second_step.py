"""The second step: another model goes on from each picture, chosen without a line of code."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from backends.base import Model, Readiness, State
from backends.fit import STRENGTH
from compare.catalogue.catalogue import UnknownModel
from compare.lineup import Lineup
from compare.records import Cost, RunSpec, SecondStep
from ui.compare_tab.form import QUICK
from ui.context import Context

NONE = ("none", "")
HINT = (
    "Each picture goes on to this model, which draws it anew after its own prompt: "
    "the more strength, the less is left of it."
)


class SecondStepSection:
    """Lays the fold-out out; `widgets` has its fields by name, `shown` is what may be changed."""

    def __init__(self, context: Context) -> None:
        self._catalogue = context.catalogue
        with gr.Row(elem_classes="lu-second"):
            self.model = gr.Dropdown(
                [NONE, *((model.label, model.id) for model in self._able())],
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
        self.model.change(self._takes, self.model, self._strength, **QUICK)
        self.widgets: dict[str, Component] = {
            "then_model": self.model,
            "then_prompt": self._prompt,
            "then_strength": self._strength,
        }

    @property
    def shown(self) -> list[Block]:
        """What `standing` and `choices` may change."""
        return list(self.widgets.values())

    def asked(self, spec: RunSpec, fields: Mapping[str, Any]) -> RunSpec:
        """Return `spec` with the second step that the fields ask for, if any."""
        id = str(fields.get("then_model") or "").strip()
        if not id:
            return spec
        strength = float(fields.get("then_strength") or STRENGTH)
        prompt = str(fields.get("then_prompt") or "").strip()
        taken = strength if self._takes_strength(id) else None
        return replace(spec, second_step=SecondStep(model=id, prompt=prompt, strength=taken))

    def choices(self, lineup: Lineup) -> dict[Block, Any]:
        """Say of each model what it still needs, those that need nothing first."""
        found = [(lineup.availability.ready(model).state, model) for model in self._able()]
        found.sort(key=lambda each: each[0] is not Readiness.READY)
        named = [(_named(model, state), model.id) for state, model in found]
        return {self.model: gr.Dropdown(choices=[NONE, *named])}

    def standing(self, spec: RunSpec) -> dict[Block, Any]:
        """Show the second step of a run."""
        then = spec.second_step or SecondStep(model="")
        return {
            self.model: then.model,
            self._prompt: then.prompt,
            self._strength: STRENGTH if then.strength is None else then.strength,
        }

    def expected(self, lineup: Lineup, spec: RunSpec) -> tuple[str, Cost] | None:
        """Return what the second model is called, and what one of its pictures should cost."""
        if spec.second_step is None:
            return None
        id = spec.second_step.model
        try:
            return self._catalogue.find(id).label, lineup.availability.expected(spec, [id])[-1]
        except UnknownModel:
            return id, Cost()

    def _takes(self, id: str | None) -> gr.Slider:
        return gr.Slider(interactive=not id or self._takes_strength(id))

    def _takes_strength(self, id: str) -> bool:
        try:
            return "strength" in self._catalogue.find(id).supports
        except UnknownModel:
            return True  # what is wrong with the model is told, not with its strength

    def _able(self) -> Iterable[Model]:
        gone = (State.RETIRED, State.NO_API)
        return (
            model
            for model in self._catalogue.models
            if "image" in model.supports and model.status.state not in gone
        )


def _named(model: Model, state: Readiness) -> str:
    return model.label if state is Readiness.READY else f"{model.label} ({state})"
