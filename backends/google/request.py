"""Build requests for Google's image models: the options, and the parameters of one job."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from backends.base import Applied, Model, Request, Value
from backends.errors import BadInput
from backends.fit import (
    IMAGE_SIZES,
    closest_aspect_ratio,
    closest_choice,
    fit_folding_negative_prompt,
    size_note,
)
from backends.images.inputs import as_upload
from backends.options import description, option

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
AUTO = "auto"

# The API's seed is a signed 32-bit integer, Lineup's an unsigned one.
_SEED_COUNT = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of this backend; the form has a widget for each.

    The catalogue lists the values that a model supports under the option's name in the plural
    (`image_sizes`), and the model's default under the name itself.
    """

    image_size: str = option(
        "1K",
        label="Resolution",
        help="1K is about one megapixel, 2K four, 4K sixteen; the wished size gives the "
        "shape alone. Not every model has 2K and 4K.",
        choices=IMAGE_SIZES,
    )
    thinking_level: str = option(
        AUTO,
        label="Thinking",
        help="How long the model plans the picture; that is billed as text. "
        "Auto leaves it to the model.",
        choices=(AUTO, "minimal", "medium", "high"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """The parameters of one job, one API call for each of `seeds`.

    None stands for the model's default. `image` is the init image: bytes and media type.
    """

    model: str
    prompt: str
    image: tuple[bytes, str] | None = field(repr=False)
    aspect_ratio: str
    image_size: str | None
    thinking_level: str | None
    seeds: tuple[int | None, ...]
    honoured: Mapping[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Translate `request` into parameters of the API; slow if there is an init image.

    Raises:
        BadInput: the service would reject it.
    """
    options = _options(model, request)
    fitted = fit_folding_negative_prompt(model, request)
    honoured = fitted.honoured | options
    width, height = fitted.request.width or 1, fitted.request.height or 1
    image = fitted.request.image
    ratio = closest_aspect_ratio(RATIOS, width, height)
    honoured["aspect_ratio"] = Applied(None, ratio)
    image_size = _used(options, "image_size")
    if image_size is not None:
        requested, scale = honoured["size"].requested, 2 ** IMAGE_SIZES.index(image_size)
        used = f"{width * scale}x{height * scale}"
        honoured["size"] = Applied(requested, used, size_note(used, requested))
    return ApiRequest(
        model=model.source,
        prompt=fitted.request.prompt,
        image=None if image is None else as_upload(image)[1:],
        aspect_ratio=ratio,
        image_size=image_size,
        thinking_level=_used(options, "thinking_level"),
        seeds=_seeds(fitted.request, honoured),
        honoured=honoured,
    )


def _options(model: Model, request: Request) -> dict[str, Applied]:
    """Return the applied value of each option, without those left to the model."""
    chosen = request.options.get("google", {})
    known = {option.name: option for option in fields(Options)}
    found = {
        name: Applied(value, None, f"{name} ignored: Google has no such option")
        for name, value in chosen.items()
        if name not in known
    }
    for name, each in known.items():
        if (applied := _choice(model, each, chosen.get(name))) is not None:
            found[name] = applied
    return found


def _choice(model: Model, field: "Field[Any]", requested: Value) -> Applied | None:
    """Return the model's nearest value, the next lower one if possible; None for its default."""
    described = description(field)
    choices = [str(choice) for choice in described.choices]
    label = described.label.lower()
    wanted = str(requested or model.options.get(field.name) or AUTO)
    if wanted == AUTO:
        return None
    if wanted not in choices:
        raise BadInput(f"{field.name} must be one of {', '.join(choices)}; not {wanted}.")
    used = closest_choice(model.options.get(f"{field.name}s"), choices, wanted)
    if used is None:
        return Applied(wanted, None, f"{label} ignored: {model.label} lets nobody choose it")
    note = "" if used == wanted else f"{label} {used} instead of {wanted}"
    return Applied(requested, used, note)


def _used(options: Mapping[str, Applied], name: str) -> str | None:
    used = options[name].used if name in options else None
    return None if used is None else str(used)


def _seeds(request: Request, honoured: dict[str, Applied]) -> tuple[int | None, ...]:
    """Return one seed per picture, counting up from the request's modulo the API's range."""
    if request.seed is None:
        return (None,) * request.count
    seeds = tuple((request.seed + number) % _SEED_COUNT for number in range(request.count))
    note = "the seed is a wish: the same one may draw another picture"
    if seeds[0] != request.seed:
        note = f"seed {seeds[0]} instead of {request.seed}; {note}"
    honoured["seed"] = Applied(request.seed, seeds[0], note)
    return seeds
