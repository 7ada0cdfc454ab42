"""What is asked of OpenAI's image API: the options, and the parameters of one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from backends.base import Applied, Model, Request, Value
from backends.errors import BadInput
from backends.fit import fit_folding_negative_prompt
from backends.images.inputs import as_upload
from backends.options import option, parse_options

QUALITIES = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; the form is drawn from the fields."""

    quality: str = option(
        "low",
        label="Quality",
        help="More quality takes longer and costs more. Not every model has xhigh and max.",
        choices=("auto", *QUALITIES),
    )
    background: str = option(
        "auto",
        label="Background",
        help="Transparent needs PNG or WebP.",
        choices=("auto", "opaque", "transparent"),
    )
    output_format: str = option(
        "png",
        label="File format",
        help="JPEG and WebP are smaller and arrive sooner.",
        choices=("png", "jpeg", "webp"),
    )
    moderation: str = option(
        "auto",
        label="Moderation",
        help="How strictly OpenAI filters; low is less restrictive.",
        choices=("auto", "low"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """One call: its parameters, how many partial pictures it asks for, what was honoured.

    With an `image` (a file's name, bytes and media type) it is an edit of that picture.
    """

    parameters: Mapping[str, Any]
    image: tuple[str, bytes, str] | None = field(default=None, repr=False)
    partials: int
    honoured: dict[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Put `request` into the API's words; slow where there is a start picture.

    Raises:
        BadInput: the service would not take it.
    """
    asked = request.options.get("openai", {})
    usual = {"quality": model.options["quality"]} if "quality" in model.options else {}
    options, ignored = parse_options(Options, {**usual, **_given(asked)}, "OpenAI")
    fitted = fit_folding_negative_prompt(model, request)
    honoured = fitted.honoured | ignored
    if options.background == "transparent" and options.output_format == "jpeg":
        raise BadInput("A JPEG cannot be transparent. Choose PNG or WebP, or another background.")
    parameters: dict[str, Any] = {
        "model": model.source,
        "prompt": fitted.request.prompt,
        "size": f"{fitted.request.width}x{fitted.request.height}",
    }
    if quality := _quality(model, options.quality):
        parameters["quality"] = quality.used
        honoured["quality"] = quality
    elif options.quality != Options().quality:  # the form sends the default along
        note = f"quality ignored: {model.label} takes none"
        honoured["quality"] = Applied(options.quality, None, note)
    # A compatible server may know none of these: what is the default anyway is not said.
    for each in fields(Options):
        value = getattr(options, each.name)
        if each.name != "quality" and value != each.default:
            parameters[each.name] = value
            honoured[each.name] = Applied(value, value)
    image = fitted.request.image
    if image is not None and "moderation" in parameters:
        note = "moderation ignored: with a start picture there is no choice"
        honoured["moderation"] = Applied(parameters.pop("moderation"), None, note)
    if fitted.request.count > 1:
        parameters["n"] = fitted.request.count
    partials = int(model.options.get("partials", 2) or 0)
    return ApiRequest(
        parameters=parameters,
        image=None if image is None else as_upload(image),
        partials=partials if fitted.request.count == 1 else 0,
        honoured=honoured,
    )


def _given(asked: Mapping[str, Value]) -> dict[str, Value]:
    """Return the options that were chosen: an empty one leaves the model its own."""
    return {name: value for name, value in asked.items() if value not in (None, "")}


def _quality(model: Model, asked: str) -> Applied | None:
    """The model's nearest quality: the best it has where more is asked for."""
    listed = str(model.options.get("qualities") or "").replace(" ", "").split(",")
    has = [quality for quality in QUALITIES if quality in listed]
    if not has:
        return None
    if asked == "auto" or asked in has:
        return Applied(asked, asked)
    below = [quality for quality in has if QUALITIES.index(quality) < QUALITIES.index(asked)]
    used = below[-1] if below else has[0]
    return Applied(asked, used, f"quality {used} instead of {asked}")
