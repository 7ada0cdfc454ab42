"""Validate a run before it starts: one sentence for each invalid field. Pure.

Only values that no model could take are invalid. The limits of a single model are left to its
backend, which fits the request to the model and reports the changes.
"""

from collections.abc import Sequence

from backends.base import Control
from backends.fit import MIN_STRENGTH
from compare.catalogue.catalogue import Catalogue, UnknownModel
from compare.prompts import MAX_PROMPT
from compare.records import RunSpec, SecondStep

STEPS = (1, 500)
COUNT = (1, 20)
SIDE = (16, 8192)
GUIDANCE = (0.0, 50.0)
SEED = (0, 2**32 - 1)
WEIGHT = (0.0, 2.0)
STRENGTH = (MIN_STRENGTH, 1.0)
MAX_CONTROLS = 8


def problems(spec: RunSpec, model_ids: Sequence[str], catalogue: Catalogue) -> dict[str, str]:
    """Return a sentence for each invalid field, by the field's name; empty if all are valid."""
    request, then = spec.request, spec.second_step
    found = {
        "prompt": _prompt(request.prompt, "prompt"),
        "negative_prompt": _text(request.negative_prompt, "negative prompt"),
        "models": _models(model_ids, catalogue),
        "num_inference_steps": _within("Steps", request.num_inference_steps, STEPS),
        "count": _within("The number of pictures", request.count, COUNT),
        "width": _within("The width", request.width, SIDE),
        "height": _within("The height", request.height, SIDE),
        "guidance_scale": _within("Guidance", request.guidance_scale, GUIDANCE),
        "seed": _within("The seed", request.seed, SEED),
        "controls": _controls(request.controls),
        "image": _image(request.image),
        "strength": _within("The strength", request.strength, STRENGTH),
        "then": _then(then, catalogue) if then else "",
    }
    return {field: sentence for field, sentence in found.items() if sentence}


def _prompt(text: str, name: str) -> str:
    if not text.strip():
        return f"The {name} is empty. Write what the picture should show."
    return _text(text, name)


def _text(text: str, name: str) -> str:
    if len(text) > MAX_PROMPT:
        return f"The {name} has {len(text):,} characters; {MAX_PROMPT:,} is the most. Shorten it."
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"The {name} holds characters that are broken. Type or paste it again."
    return ""


def _models(model_ids: Sequence[str], catalogue: Catalogue) -> str:
    if not model_ids:
        return "Choose at least one model."
    for id in dict.fromkeys(model_ids):
        try:
            catalogue.find(id)
        except UnknownModel as error:
            return str(error)
    return ""


def _within(name: str, value: float | None, bounds: tuple[float, float]) -> str:
    least, most = bounds
    # Written so that NaN is outside the bounds too.
    if value is None or least <= value <= most:
        return ""
    return f"{name} must be between {least:,} and {most:,}."


def _controls(controls: Sequence[Control]) -> str:
    if len(controls) > MAX_CONTROLS:
        return f"There are {len(controls)} control pictures; {MAX_CONTROLS} is the most."
    for place, control in enumerate(controls, start=1):
        name = f"control picture {place}" if len(controls) > 1 else "the control picture"
        if sentence := _control(control, name):
            return sentence
    return ""


def _control(control: Control, name: str) -> str:
    if not control.image:
        return f"{name[:1].upper()}{name[1:]} is empty. Choose a picture file."
    if sentence := _within(f"The weight of {name}", control.weight, WEIGHT):
        return sentence
    for end, value in (("start", control.start), ("end", control.end)):
        if sentence := _within(f"The {end} of {name}", value, (0.0, 1.0)):
            return sentence
    if control.start >= control.end:
        return f"{name[:1].upper()}{name[1:]} must start before it ends."
    return ""


def _image(image: bytes | None) -> str:
    return "The start picture is empty. Choose a picture file." if image == b"" else ""


def _then(then: SecondStep, catalogue: Catalogue) -> str:
    try:
        model = catalogue.find(then.model)
    except UnknownModel as error:
        return str(error)
    if "image" not in model.supports:
        able = [each.id for each in catalogue.models if "image" in each.supports]
        return (
            f"{model.label} cannot go on from a picture, so it cannot be the second step. "
            f"Choose one that can, such as {', '.join(able[:3])}."
        )
    return _text(then.prompt, "second step's prompt") or _within(
        "The second step's strength", then.strength, STRENGTH
    )
