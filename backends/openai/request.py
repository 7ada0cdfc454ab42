"""Build requests for OpenAI's image API: the options, and the parameters of one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from backends.base import Applied, Model, Request, Value
from backends.errors import BadInput
from backends.fit import QUALITIES, closest_choice, fit_folding_negative_prompt
from backends.images.inputs import as_upload
from backends.options import option, parse_options


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of this backend; the form has a widget for each."""

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
    stream: str = option(
        "auto",
        label="Previews",
        help="Asks for a stream with unfinished pictures. Auto: where it is known to work, at "
        "OpenAI itself and at servers with stream=on.",
        choices=("auto", "on", "off"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """The parameters of one call, the number of partial pictures it requests, and `honoured`.

    With an `image` (file name, bytes and media type) it is a call of the edit endpoint.
    """

    parameters: Mapping[str, Any]
    image: tuple[str, bytes, str] | None = field(default=None, repr=False)
    partials: int
    honoured: dict[str, Applied]


def build_request(model: Model, request: Request, *, streams: bool = True) -> ApiRequest:
    """Translate `request` into parameters of the API; slow if there is an init image.

    `streams` says whether the server is known to send partial pictures; the option decides first.

    Raises:
        BadInput: the service would reject it.
    """
    chosen = request.options.get("openai", {})
    defaults = {"quality": model.options["quality"]} if "quality" in model.options else {}
    options, ignored = parse_options(Options, {**defaults, **_without_empty(chosen)}, "OpenAI")
    fitted = fit_folding_negative_prompt(model, request)
    honoured = fitted.honoured | ignored
    if options.background == "transparent" and options.output_format == "jpeg":
        raise BadInput("A JPEG cannot be transparent. Choose PNG or WebP, or another background.")
    parameters: dict[str, Any] = {
        "model": model.source,
        "prompt": fitted.request.prompt,
    }
    if model.family == "unknown" and request.width is None and request.height is None:
        # Some servers refuse any size: one that nobody chose is left to the model.
        honoured["size"] = Applied(None, None)
    else:
        parameters["size"] = f"{fitted.request.width}x{fitted.request.height}"
    if quality := _quality(model, options.quality):
        parameters["quality"] = quality.used
        honoured["quality"] = quality
    elif options.quality != Options().quality:  # the form always sends a value
        note = f"quality ignored: {model.label} takes none"
        honoured["quality"] = Applied(options.quality, None, note)
    # A compatible server may know none of these parameters: defaults are not sent.
    for each in fields(Options):
        value = getattr(options, each.name)
        if each.name not in ("quality", "stream") and value != each.default:
            parameters[each.name] = value
            honoured[each.name] = Applied(value, value)
    image = fitted.request.image
    if image is not None and "moderation" in parameters:
        note = "moderation ignored: with a start picture there is no choice"
        honoured["moderation"] = Applied(parameters.pop("moderation"), None, note)
    if fitted.request.count > 1:
        parameters["n"] = fitted.request.count
    streams = {"on": True, "off": False}.get(options.stream, streams)
    partials = int(model.options.get("partials", 2) or 0)
    return ApiRequest(
        parameters=parameters,
        image=None if image is None else as_upload(image),
        partials=partials if fitted.request.count == 1 and streams else 0,
        honoured=honoured,
    )


def _without_empty(chosen: Mapping[str, Value]) -> dict[str, Value]:
    """Return the options with a value: an empty one stands for the model's default."""
    return {name: value for name, value in chosen.items() if value not in (None, "")}


def _quality(model: Model, requested: str) -> Applied | None:
    """Return the model's nearest quality, the next lower one if possible; None if it has none."""
    listed = model.options.get("qualities")
    if requested == "auto":
        return Applied(requested, requested) if listed else None
    used = closest_choice(listed, QUALITIES, requested)
    if used is None:
        return None
    note = "" if used == requested else f"quality {used} instead of {requested}"
    return Applied(requested, used, note)
