"""Fit a request to what a model can take, and keep account of what changed.

Nothing is dropped in silence: each input of the request ends up in `honoured`, with a note where
the model gets something other than what was asked. A backend that does better than the general
rule (folds a negative prompt into the text, say) replaces the entry.

What came instead of what was asked for: how many pictures, and how large.

A negative prompt for models that have none: it is written into the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backends.base import Applied, Control, Model, Picture, Request, Sizes, Value
from backends.errors import BackendError, BadInput, ServiceFault
from backends.images.validation import dimensions

STRENGTH = 0.7
"""How much of a start picture is drawn anew unless somebody says otherwise."""
LEAST_STRENGTH = 0.01


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request in which every value the model takes is concrete, and what became of each input.

    `controls` are the request's again, by their names in `honoured`.
    """

    request: Request
    honoured: dict[str, Applied]
    controls: Mapping[str, Control]


def fit(model: Model, request: Request) -> Fitted:
    """Return `request` as `model` can take it.

    Raises:
        BadInput: nothing sensible can be made of the request.
    """
    _check(model, request)
    honoured: dict[str, Applied] = {}

    def take(name: str, asked: Value) -> Value:
        if name in model.supports:
            used = model.defaults.get(name) if asked in (None, "") else asked
        else:
            # What cannot be asked for may still have one right value (a turbo model's guidance).
            used = model.defaults.get(name)
        ignored = asked not in (None, "") and name not in model.supports
        if asked not in (None, "") or used is not None:
            words = name.replace("_", " ").replace("num inference ", "")
            note = f"{words} ignored: {model.label} takes none" if ignored else ""
            honoured[name] = Applied(asked if asked != "" else None, used, note)
        return used

    negative_prompt = take("negative_prompt", request.negative_prompt)
    steps = take("num_inference_steps", request.num_inference_steps)
    guidance = take("guidance_scale", request.guidance_scale)
    seed = take("seed", request.seed)
    controls = _controls(model, request.controls, honoured)
    image = _image(model, request, honoured)
    strength = _strength(model, request, honoured)
    width, height = _size(model, request, honoured)
    count = min(request.count, model.most_count)
    note = f"{count} instead of {request.count} pictures" if count != request.count else ""
    honoured["count"] = Applied(request.count, count, note)
    fitted = replace(
        request,
        negative_prompt=str(negative_prompt or ""),
        num_inference_steps=None if steps is None else int(steps),
        guidance_scale=None if guidance is None else float(guidance),
        seed=None if seed is None else int(seed),
        controls=tuple(controls.values()),
        image=image,
        strength=strength,
        width=width,
        height=height,
        count=count,
    )
    return Fitted(fitted, honoured, controls)


def closest_size(sizes: Sizes, width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) nearest to the wished one that `sizes` allows.

    Among native sizes the nearest shape wins, then the nearest area.
    """
    if not sizes.only_native:
        return (_side(sizes, width), _side(sizes, height))

    def distance(size: tuple[int, int]) -> tuple[float, int]:
        shape = size[0] * height / (size[1] * width)
        return (max(shape, 1 / shape), abs(size[0] * size[1] - width * height))

    return min(sizes.native, key=distance)


def _check(model: Model, request: Request) -> None:
    if not request.prompt.strip():
        raise BadInput("The prompt is empty. Write what the picture should show.")
    if model.most_prompt is not None and len(request.prompt) > model.most_prompt:
        raise BadInput(
            f"The prompt has {len(request.prompt):,} characters and {model.label} reads at most "
            f"{model.most_prompt:,}. Shorten it."
        )
    if request.count < 1:
        raise BadInput("At least one picture must be asked for.")
    if request.num_inference_steps is not None and request.num_inference_steps < 1:
        raise BadInput("At least one step is needed. Leave steps empty for the model's own number.")


def _controls(
    model: Model, controls: tuple[Control, ...], honoured: dict[str, Applied]
) -> dict[str, Control]:
    """The control pictures that `model` takes: "control" is the first, "control_2" the next."""
    several = len(controls) > 1
    if controls and "controls" not in model.supports:
        asked = ", ".join(control.preprocessor for control in controls)
        note = f"control picture{'s' * several} ignored: {model.label} takes none"
        honoured["control"] = Applied(asked, None, note)
        return {}
    taken: dict[str, Control] = {}
    for place, control in enumerate(controls, start=1):
        name = f"control_{place}" if place > 1 else "control"
        fault = _unsteered(model, control, len(taken))
        if fault:
            note = f"control picture{f' {place}' * several} ignored: {model.label} {fault}"
            honoured[name] = Applied(control.preprocessor, None, note)
        else:
            honoured[name] = Applied(control.preprocessor, control.preprocessor)
            taken[name] = control
    return taken


def _unsteered(model: Model, control: Control, taken: int) -> str:
    """Why `model` does not take `control` beside those that it has taken."""
    if control.preprocessor not in model.controls and "*" not in model.controls:
        known = ", ".join(sorted(model.controls))
        return f"has no ControlNet for {control.preprocessor}, only {known}"
    if taken >= model.most_controls:
        return f"takes {'one' if model.most_controls == 1 else f'{model.most_controls} at most'}"
    return ""


def _image(model: Model, request: Request, honoured: dict[str, Applied]) -> bytes | None:
    if request.image is None:
        return None
    if "image" not in model.supports:
        note = f"start picture ignored: {model.label} takes none"
        honoured["image"] = Applied("start picture", None, note)
        return None
    honoured["image"] = Applied("start picture", "start picture")
    return request.image


def _strength(model: Model, request: Request, honoured: dict[str, Applied]) -> float | None:
    """How much of the start picture is drawn anew; without one there is nothing to say."""
    if request.image is None or "image" not in model.supports:
        return None
    asked = request.strength
    if "strength" not in model.supports:
        if asked is not None:
            note = f"strength ignored: {model.label} decides itself how much it changes"
            honoured["strength"] = Applied(asked, None, note)
        return None
    used = float(model.defaults.get("strength") or STRENGTH) if asked is None else asked
    if not LEAST_STRENGTH <= used <= 1:
        raise BadInput(f"The strength must be between {LEAST_STRENGTH:g} and 1.")
    honoured["strength"] = Applied(asked, used)
    return used


def _own_size(model: Model, request: Request) -> tuple[int, int]:
    """The model's own size; with a start picture, in its shape and with as many pixels."""
    native = model.sizes.native[0]
    if request.image is None or "image" not in model.supports:
        return native
    try:
        width, height, _ = dimensions(request.image)
    except ServiceFault:
        return native  # a rarer format: whoever opens it says what is wrong, if anything is
    from backends.images import decoding

    if decoding.on_its_side(request.image):
        width, height = height, width
    scale = (native[0] * native[1] / (width * height)) ** 0.5
    return closest_size(model.sizes, round(width * scale), round(height * scale))


def _size(model: Model, request: Request, honoured: dict[str, Applied]) -> tuple[int, int]:
    if request.width is None and request.height is None:
        width, height = _own_size(model, request)
        honoured["size"] = Applied(None, f"{width}x{height}")
        return width, height
    asked = (
        request.width or request.height or 0,
        request.height or request.width or 0,
    )
    if min(asked) < 1:
        raise BadInput("Width and height must be at least one pixel.")
    width, height = closest_size(model.sizes, *asked)
    requested, used = f"{asked[0]}x{asked[1]}", f"{width}x{height}"
    honoured["size"] = Applied(requested, used, size_note(used, requested))
    return width, height


def _side(sizes: Sizes, pixels: int) -> int:
    bounded = min(max(pixels, sizes.least), sizes.most)
    return max(sizes.multiple, round(bounded / sizes.multiple) * sizes.multiple)


def record_actual(
    honoured: Mapping[str, Applied],
    pictures: Sequence[Picture],
    failures: Sequence[BackendError] = (),
) -> dict[str, Applied]:
    """Return `honoured` with "size" and "count" as the pictures show them.

    `failures` says why some of them did not come.
    """
    count = honoured["count"]
    size = with_actual_size(honoured["size"], pictures[0])
    if len(pictures) != count.used:
        why = f": {failures[0]}" if failures else ""
        note = f"{len(pictures)} instead of {count.requested} pictures{why}"
        count = replace(count, used=len(pictures), note=note)
    return {**honoured, "size": size, "count": count}


def with_actual_size(size: Applied, picture: Picture) -> Applied:
    """Return the entry "size" of `honoured` with the size of `picture`, noting a difference."""
    actual = f"{picture.width}x{picture.height}"
    if actual == size.used:
        return size
    return replace(size, used=actual, note=size_note(actual, size.requested or size.used))


def size_note(actual: str, wished: Value) -> str:
    """Return the note for a size other than the wished one, "" if it is that or none was wished."""
    return "" if wished in (actual, None) else f"{actual} instead of {wished}"


def fit_folding_negative_prompt(model: Model, request: Request) -> Fitted:
    """Fit `request`, the negative prompt folded into the prompt; raises as `fit` does."""
    negative = request.negative_prompt.strip()
    prompt = request.prompt
    if prompt.strip() and negative:
        prompt = f"{prompt.rstrip()}\n\nAvoid: {negative}"
    fitted = fit(model, replace(request, prompt=prompt))
    if not negative:
        return fitted
    note = "negative prompt folded into the prompt"
    folded = {"negative_prompt": Applied(request.negative_prompt, negative, note)}
    return replace(fitted, honoured=fitted.honoured | folded)
