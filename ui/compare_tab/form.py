"""The settings that every backend shares, and the way from all form fields to `RunSpec`s."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from backends.base import Request
from compare.lineup import Lineup
from compare.prompts.template import holds_variants
from compare.prompts.variants import spread
from compare.prompts.wildcards import Folder
from compare.records import RunSpec
from ui.compare_tab import variants_row
from ui.compare_tab.pictures import with_bytes
from ui.compare_tab.sections import (
    MODEL_DEFAULT,
    BadField,
    Fields,
    Section,
    Updates,
    parse_integer,
    parse_number,
)
from ui.compare_tab.settings_line import panel
from ui.context import Context
from ui.events import QUICK

SIZES = (MODEL_DEFAULT, "512×512", "768×768", "1024×1024", "1024×1536", "1536×1024")
PROMPT = "a red star left of a blue ring on a white background"
SIZE_HINT = "Width × height in pixels, such as 896×1152."
SEED = 1
MAX_SEED = 2**32 - 1


async def to_specs(
    fields: Fields, sections: Iterable[Section], context: Context
) -> Sequence[RunSpec]:
    """Return the runs that the form asks for: one `RunSpec` per variant of the prompt.

    Each section adds its fields to one spec, in the order given; the section of the prompt comes
    before those that read it. Then the variants of the spec's prompt are expanded, with the
    wildcard files of the data folder among others.

    Raises:
        BadField: a field cannot be parsed.
        BadVariants: the variants cannot be parsed, or there are too many.
    """
    fields = await with_bytes(context, fields)
    spec = RunSpec(Request(prompt=""))
    for section in sections:
        spec = section.apply(spec, fields)
    if not variants_row.expands(fields) or not holds_variants(spec.request.prompt):
        return (spec,)
    limit = variants_row.limit(fields)
    folder = Folder(context.settings.home)
    return await context.off_loop(spread, spec, folder, most=limit)


def prompt_box() -> gr.Textbox:
    """Lay out the prompt's text box, which `SharedSettings` takes into the form."""
    return gr.Textbox(
        PROMPT,
        label="Prompt",
        show_label=False,
        container=False,
        lines=1,
        max_lines=8,
        scale=1,
        max_length=40_000,
        placeholder="What should every model draw?",
        elem_classes="lu-prompt",
    )


class SharedSettings(Section):
    """The prompt and the settings that every backend shares, each in a panel of its own.

    `lock` keeps the seed for the next run; without it, each run gets a random seed.
    """

    def __init__(self, prompt: gr.Textbox) -> None:
        with panel("size"):
            size = gr.Dropdown(
                SIZES, value=MODEL_DEFAULT, label="Size", info=SIZE_HINT, allow_custom_value=True
            )
        with panel("seed"), gr.Row(elem_classes="lu-seed"):
            self.seed = gr.Number(SEED, label="Seed", precision=0, minimum=0, maximum=MAX_SEED)
            randomize = gr.Button("Another", elem_classes="lu-dice")
            self.lock = gr.Checkbox(
                True, label="Keep it for the next run", container=False, elem_classes="lu-lock"
            )
        with panel("count"):
            count = gr.Number(1, label="Pictures", precision=0, minimum=1, maximum=20, step=1)
        with panel("steps"), gr.Row():
            steps = gr.Textbox("", label="Steps", placeholder=MODEL_DEFAULT, max_lines=1)
            guidance = gr.Textbox("", label="Guidance", placeholder=MODEL_DEFAULT, max_lines=1)
        with panel("negative"):
            negative = gr.Textbox(
                "",
                label="Negative prompt",
                placeholder="what should not be there",
                max_lines=4,
                max_length=40_000,
            )
        randomize.click(random_seed, None, self.seed, **QUICK)
        self.widgets = {
            "prompt": prompt,
            "negative_prompt": negative,
            "size": size,
            "count": count,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "seed": self.seed,
        }
        for name, widget in self.widgets.items():
            widget.elem_classes = [*_classes(widget), f"lu-field-{name}"]

    @property
    def outputs(self) -> Sequence[Block]:
        """The widgets, and the seed's lock."""
        return [*self.widgets.values(), self.lock]

    def apply(self, spec: RunSpec, fields: Fields) -> RunSpec:
        """Return `spec` with the prompt and the shared settings.

        Raises:
            BadField: the size or a number cannot be parsed.
        """
        width, height = parse_size(fields.get("size"))
        request = replace(
            spec.request,
            prompt=str(fields.get("prompt") or ""),
            negative_prompt=str(fields.get("negative_prompt") or ""),
            width=width,
            height=height,
            num_inference_steps=parse_integer(
                fields.get("num_inference_steps"), "Steps", "num_inference_steps"
            ),
            guidance_scale=parse_number(fields.get("guidance_scale"), "Guidance", "guidance_scale"),
            seed=parse_integer(fields.get("seed"), "The seed", "seed"),
            count=parse_integer(fields.get("count"), "Pictures", "count") or 1,
        )
        return replace(spec, request=request)

    def show(self, values: Mapping[str, Any]) -> Updates:
        """Show some settings, by the names of `Request`; the others stay as they are.

        A seed is locked with it.
        """
        every = field_values(replace(Request(prompt=""), **values))
        has_size = "width" in values and "height" in values
        names = [name for name in values if name in every] + (["size"] if has_size else [])
        locked = {self.lock: True} if "seed" in values else {}
        return {**{self.widgets[name]: every[name] for name in names}, **locked}

    def values_for(self, spec: RunSpec, lineup: Lineup) -> Updates:
        """Show the settings of `spec`, and lock its seed."""
        values = field_values(spec.request)
        return {**{self.widgets[name]: values[name] for name in values}, self.lock: True}


def field_values(request: Request) -> dict[str, Any]:
    """Return the values of the shared settings that ask for `request`, by field name."""
    has_size = request.width and request.height
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "size": f"{request.width}×{request.height}" if has_size else MODEL_DEFAULT,
        "count": request.count,
        "num_inference_steps": _format_number(request.num_inference_steps),
        "guidance_scale": _format_number(request.guidance_scale),
        "seed": request.seed,
    }


def random_seed() -> int:
    """Return a seed that the seed's widget accepts."""
    return random.randint(0, MAX_SEED)


def parse_models(value: object) -> list[str]:
    """Return the ids of the chosen models; None stands for no model.

    Raises:
        BadField: the value is no list of ids, or has one twice.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(id, str) for id in value):
        raise BadField("The choice of models cannot be read. Choose them again.", "models")
    for id, times in Counter(value).items():
        if times > 1:
            raise BadField(f"{id[:100]} is chosen twice; once is enough.", "models")
    return value


def parse_size(value: object) -> tuple[int | None, int | None]:
    """Return (width, height) in pixels from "512×768", "512x768" or "512 768".

    Both are None for an empty field and for `MODEL_DEFAULT`.

    Raises:
        BadField: the text is no size.
    """
    text = str(value or "").strip()
    if not text or text == MODEL_DEFAULT:
        return None, None
    match = re.fullmatch(r"(\d{1,5})\s*(?:px)?\s*[×xX*, ]\s*(\d{1,5})\s*(?:px)?", text)
    if match is None:
        raise BadField(f"“{text[:40]}” is no size. Write width × height, such as 512×768.", "size")
    return int(match[1]), int(match[2])


def _classes(widget: Component) -> Sequence[str]:
    classes = widget.elem_classes or []
    return [classes] if isinstance(classes, str) else classes


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
