"""The form: one widget per field of a `Request`, and the way from widgets to a `Request`.

Widgets travel by name (`inputs_kwargs`), never by position: a new setting is a new entry here and
a new field there.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from backends.base import Control, Request, Value
from compare.prompts.rewrite import recorded
from compare.records import RunSpec

OWN = "model's own"
SIZES = (OWN, "512×512", "768×768", "1024×1024", "1024×1536", "1536×1024")
PROMPT = "a red star left of a blue ring on a white background"
SEED = 1

# Handlers that are short need no queue: their answer is one plain request away.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# The same, for handlers that take the whole form: its values and what they answer are plain JSON
# already, and Gradio's own treatment of each would be a trip to another thread, fifty for a click.
PLAIN: dict[str, Any] = {**QUICK, "preprocess": False, "postprocess": False}

Widgets = dict[str, Component]


class BadField(ValueError):
    """A field holds something that cannot be read; the message says what to write instead."""


def prompt_box() -> gr.Textbox:
    """Return the prompt's box."""
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


def settings() -> Widgets:
    """Return the settings every backend shares, laid out in the row in which this is called."""
    return {
        "negative_prompt": gr.Textbox(
            "",
            label="Negative prompt",
            placeholder="what should not be there",
            max_lines=1,
            max_length=40_000,
            scale=3,
        ),
        "size": gr.Dropdown(SIZES, value=OWN, label="Size", allow_custom_value=True, scale=2),
        "count": gr.Number(1, label="Pictures", precision=0, minimum=1, maximum=20, step=1),
        "num_inference_steps": gr.Textbox("", label="Steps", placeholder=OWN, max_lines=1),
        "guidance_scale": gr.Textbox("", label="Guidance", placeholder=OWN, max_lines=1),
    }


def seed() -> tuple[gr.Number, gr.Checkbox, gr.Button]:
    """Return the seed's number, its lock, and the dice that throw another."""
    with gr.Row(elem_classes="lu-seed"):
        number = gr.Number(SEED, label="Seed", precision=0, minimum=0, maximum=2**32 - 1)
        dice = gr.Button("⚄", elem_classes="lu-dice")
        lock = gr.Checkbox(True, label="lock", container=False, elem_classes="lu-lock")
    return number, lock, dice


def from_request(request: Request) -> dict[str, Any]:
    """Return the widgets' values that ask for `request`, but for its control pictures."""
    sized = request.width and request.height
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "size": f"{request.width}×{request.height}" if sized else OWN,
        "count": request.count,
        "num_inference_steps": _written(request.num_inference_steps),
        "guidance_scale": _written(request.guidance_scale),
        "seed": request.seed,
    }


def to_spec(fields: Mapping[str, Any]) -> RunSpec:
    """Return the `RunSpec` that the widgets' values ask for, without its second step.

    Raises:
        BadField: a field that is no number or no size.
    """
    width, height = size(fields.get("size"))
    request = Request(
        prompt=str(fields.get("prompt") or ""),
        negative_prompt=str(fields.get("negative_prompt") or ""),
        width=width,
        height=height,
        num_inference_steps=_whole(fields.get("num_inference_steps"), "Steps"),
        guidance_scale=_number(fields.get("guidance_scale"), "Guidance"),
        seed=_whole(fields.get("seed"), "The seed"),
        count=_whole(fields.get("count"), "Pictures") or 1,
        controls=controls(fields),
        **start(fields),
        options=options(fields),
    )
    # "rewrite" is the record that rewrite_panel.py keeps; it may be out of date by now.
    spec = RunSpec(request)
    return recorded(spec, **fields["rewrite"]) if fields.get("rewrite") else spec


def size(words: object) -> tuple[int | None, int | None]:
    """Return (width, height) from "512×768", "512x768" or "512 768"; Nones for the model's own."""
    text = str(words or "").strip()
    if not text or text == OWN:
        return None, None
    match = re.fullmatch(r"(\d{1,5})\s*(?:px)?\s*[×xX*, ]\s*(\d{1,5})\s*(?:px)?", text)
    if match is None:
        raise BadField(f"“{text[:40]}” is no size. Write width × height, such as 512×768.")
    return int(match[1]), int(match[2])


def controls(fields: Mapping[str, Any]) -> tuple[Control, ...]:
    """Return the control pictures: the one of the form itself, and what was added to it."""
    more: list[Mapping[str, Any]] = fields.get("more_controls") or []
    return tuple(found for each in (fields, *more) if (found := control(each)))


def control(fields: Mapping[str, Any]) -> Control | None:
    """Return the control picture with its settings, None where there is none."""
    source = fields.get("control_picture")
    if not source:
        return None
    return Control(
        image=Path(str(source)).read_bytes(),
        preprocessor=str(fields.get("control_preprocessor") or "canny"),
        parameters=dict(fields.get("control_parameters") or {}),
        weight=_or(_number(fields.get("control_weight"), "The control's weight"), 1.0),
        start=_or(_number(fields.get("control_start"), "The control's start"), 0.0),
        end=_or(_number(fields.get("control_end"), "The control's end"), 1.0),
    )


def start(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the picture to start from and how much of it to draw anew, where there is one."""
    source = fields.get("start_picture")
    if not source:
        return {}
    strength = _number(fields.get("start_strength"), "The strength")
    return {"image": Path(str(source)).read_bytes(), "strength": strength}


def options(fields: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
    """Return each backend's own options, from fields named "backend.option" or "a+b.option"."""
    found: dict[str, dict[str, Value]] = {}
    for name, value in fields.items():
        backends, dot, option = name.partition(".")
        if dot and value not in (None, ""):
            for backend in backends.split("+"):
                found.setdefault(backend, {})[option] = value
    return found


def _number(value: object, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(str(value))
    except ValueError as error:
        raise BadField(f"{name} must be a number.") from error


def _whole(value: object, name: str) -> int | None:
    number = _number(value, name)
    if number is not None and not number.is_integer():
        raise BadField(f"{name} must be a whole number.")
    return None if number is None else int(number)


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
