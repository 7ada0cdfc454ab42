"""Fit a request to what a model supports, and record in `honoured` what changed.

No input is dropped silently: each has an entry in `honoured`, with a note where the model gets
something other than what was requested. A backend that does better than the general rule replaces
the entry; `fit_folding_negative_prompt` is such a rule. After the job, `record_actual` corrects
size and count to those of the pictures.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends.base import Applied, Control, Model, Picture, Request, Sizes, Value
from backends.errors import BackendError, BadInput, ServiceFault
from backends.images.validation import dimensions
from backends.prompt_syntax import Syntax, syntax_note, unknown_syntax

STRENGTH: Final = 0.7
"""Default share of an init image that is changed."""
MIN_STRENGTH: Final = 0.01


QUALITIES: Final = ("low", "medium", "high", "xhigh", "max")
IMAGE_SIZES: Final = ("1K", "2K", "4K")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request with a concrete value for every input the model supports.

    `honoured` has an entry for each input; `controls` are the request's controls by their names in
    `honoured`.
    """

    request: Request
    honoured: dict[str, Applied]
    controls: Mapping[str, Control]


def fit(model: Model, request: Request, *, syntax: Collection[Syntax] = ()) -> Fitted:
    """Return `request` fitted to what `model` supports.

    `syntax` are the notations in prompts that the backend understands: others are noted as read as
    plain words.

    Raises:
        BadInput: the request is invalid for this model.
    """
    _validate(model, request)
    honoured: dict[str, Applied] = {}

    def apply(name: str, requested: Value) -> Value:
        if name in model.supports:
            used = model.defaults.get(name) if requested in (None, "") else requested
        else:
            # An unsupported input may still have one right value (a turbo model's guidance).
            used = model.defaults.get(name)
        ignored = requested not in (None, "") and name not in model.supports
        if requested not in (None, "") or used is not None:
            label = name.replace("_", " ").replace("num inference ", "")
            note = f"{label} ignored: {model.label} takes none" if ignored else ""
            honoured[name] = Applied(requested if requested != "" else None, used, note)
        return used

    negative_prompt = apply("negative_prompt", request.negative_prompt)
    steps = apply("num_inference_steps", request.num_inference_steps)
    guidance = apply("guidance_scale", request.guidance_scale)
    seed = apply("seed", request.seed)
    controls = _controls(model, request.controls, honoured)
    image = _image(model, request, honoured)
    strength = _strength(model, request, honoured)
    width, height = _size(model, request, honoured)
    count = min(request.count, model.most_count)
    note = f"{count} instead of {request.count} pictures" if count != request.count else ""
    honoured["count"] = Applied(request.count, count, note)
    _note_syntax(model, request.prompt, str(negative_prompt or ""), syntax, honoured)
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
    """Return the (width, height) in pixels that is nearest to the given one and in `sizes`.

    Among native sizes the nearest aspect ratio wins, then the nearest area.
    """
    if not sizes.only_native:
        return (_closest_side(sizes, width), _closest_side(sizes, height))

    def distance(size: tuple[int, int]) -> tuple[float, int]:
        ratio = size[0] * height / (size[1] * width)
        return (max(ratio, 1 / ratio), abs(size[0] * size[1] - width * height))

    return min(sizes.native, key=distance)


def sizes_of_any_shape(sizes: Sizes) -> Sequence[tuple[int, int]]:
    """Return sizes of which none of a start picture's shape has fewer or more pixels.

    Such a size has about as many pixels as the native one (see `_default_size`), but the short side
    of a long picture is widened to the least one, and each side is rounded to a multiple.
    """
    if sizes.only_native:
        return sizes.native
    width, height = sizes.native[0]
    longest = -(-sizes.most // sizes.multiple) * sizes.multiple
    shortest = max(sizes.least, -(-width * height // longest)) + sizes.multiple
    return (*sizes.native, (longest, shortest))


def closest_choice(listed: Value, order: Sequence[str], wanted: Value) -> str | None:
    """Return the value that a model has nearest to `wanted`: the next lower one if possible.

    `listed` are the model's values, separated by commas, as in the catalogue; `order` are all
    values that exist, ascending. The price and the request both come from here, so that what is
    priced is what is sent. None if the model has none, or if `wanted` is no such value.
    """
    names = str(listed or "").replace(" ", "").split(",")
    available = [value for value in order if value in names]
    if not available or wanted not in order:
        return None
    rank = order.index(str(wanted))
    not_above = [value for value in available if order.index(value) <= rank]
    return not_above[-1] if not_above else available[0]


def closest_aspect_ratio(ratios: Iterable[str], width: int, height: int) -> str:
    """Return the one of `ratios`, like "16:9", that is nearest to width x height."""

    def distance(ratio: str) -> float:
        across, _, down = ratio.partition(":")
        factor = int(across) * height / (int(down) * width)
        return max(factor, 1 / factor)

    return min(ratios, key=distance)


def _validate(model: Model, request: Request) -> None:
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


def _note_syntax(
    model: Model,
    prompt: str,
    negative_prompt: str,
    understood: Collection[Syntax],
    honoured: dict[str, Applied],
) -> None:
    # Nobody reads LoRA tags in a negative prompt.
    in_negative = [syntax for syntax in understood if syntax is not Syntax.LORA]
    found = unknown_syntax(prompt, understood) + unknown_syntax(negative_prompt, in_negative)
    if found:
        note = syntax_note(found, model.label, certain=not model.server)
        honoured["prompt_syntax"] = Applied(", ".join(found), None, note)


def _controls(
    model: Model, controls: tuple[Control, ...], honoured: dict[str, Applied]
) -> dict[str, Control]:
    """Return the controls that `model` supports, named "control", "control_2" and so on."""
    several = len(controls) > 1
    if controls and "controls" not in model.supports:
        requested = ", ".join(control.preprocessor for control in controls)
        note = f"control picture{'s' * several} ignored: {model.label} takes none"
        honoured["control"] = Applied(requested, None, note)
        return {}
    accepted: dict[str, Control] = {}
    for number, control in enumerate(controls, start=1):
        name = f"control_{number}" if number > 1 else "control"
        reason = _unsupported(model, control, len(accepted))
        if reason:
            note = f"control picture{f' {number}' * several} ignored: {model.label} {reason}"
            honoured[name] = Applied(control.preprocessor, None, note)
        else:
            honoured[name] = Applied(control.preprocessor, control.preprocessor)
            accepted[name] = control
    return accepted


def _unsupported(model: Model, control: Control, accepted: int) -> str:
    """Return why `model` does not take `control` beside `accepted` others, "" if it does."""
    if control.preprocessor not in model.controls and "*" not in model.controls:
        known = ", ".join(sorted(model.controls))
        return f"has no ControlNet for {control.preprocessor}, only {known}"
    if accepted >= model.most_controls:
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
    """Return the strength for the init image, None if there is none or it cannot be set."""
    if request.image is None or "image" not in model.supports:
        return None
    requested = request.strength
    if "strength" not in model.supports:
        if requested is not None:
            note = f"strength ignored: {model.label} decides itself how much it changes"
            honoured["strength"] = Applied(requested, None, note)
        return None
    used = float(model.defaults.get("strength") or STRENGTH) if requested is None else requested
    if not MIN_STRENGTH <= used <= 1:
        raise BadInput(f"The strength must be between {MIN_STRENGTH:g} and 1.")
    honoured["strength"] = Applied(requested, used)
    return used


def _default_size(model: Model, request: Request) -> tuple[int, int]:
    """Return the model's native size; with an init image, its aspect ratio at as many pixels."""
    native = model.sizes.native[0]
    if request.image is None or "image" not in model.supports:
        return native
    try:
        width, height, _ = dimensions(request.image)
    except ServiceFault:
        return native  # not one of the four formats; opening it later raises if it is invalid
    from backends.images import decoding

    if decoding.on_its_side(request.image):
        width, height = height, width
    scale = (native[0] * native[1] / (width * height)) ** 0.5
    return closest_size(model.sizes, round(width * scale), round(height * scale))


def _size(model: Model, request: Request, honoured: dict[str, Applied]) -> tuple[int, int]:
    if request.width is None and request.height is None:
        width, height = _default_size(model, request)
        honoured["size"] = Applied(None, f"{width}x{height}")
        return width, height
    wished = (
        request.width or request.height or 0,
        request.height or request.width or 0,
    )
    if min(wished) < 1:
        raise BadInput("Width and height must be at least one pixel.")
    width, height = closest_size(model.sizes, *wished)
    requested, used = f"{wished[0]}x{wished[1]}", f"{width}x{height}"
    honoured["size"] = Applied(requested, used, size_note(used, requested))
    return width, height


def _closest_side(sizes: Sizes, pixels: int) -> int:
    bounded = min(max(pixels, sizes.least), sizes.most)
    return max(sizes.multiple, round(bounded / sizes.multiple) * sizes.multiple)


def record_actual(
    honoured: Mapping[str, Applied],
    pictures: Sequence[Picture],
    failures: Sequence[BackendError] = (),
) -> dict[str, Applied]:
    """Return `honoured` with the entries "size" and "count" corrected to those of `pictures`.

    The first of `failures` is the reason in the note for missing pictures.
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


def size_note(actual: str, requested: Value) -> str:
    """Return the note for a size other than the requested one, "" if there is no difference."""
    return "" if requested in (actual, None) else f"{actual} instead of {requested}"


def fit_folding_negative_prompt(model: Model, request: Request) -> Fitted:
    """Fit `request` to a model without negative prompts by appending it to the prompt.

    Raises:
        BadInput: as in `fit`.
    """
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
