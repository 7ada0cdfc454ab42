"""Build requests for Hugging Face: the options, and the parameters of one job.

The parameters are those of `InferenceClient.text_to_image` or `image_to_image`, and Hugging Face's
package translates them for each provider's API. Parameters that a provider is known to ignore are
left out here and noted in `honoured`.

The package passes on to the provider what it cannot translate, and the provider ignores or rejects
it. It has `width` and `height` for text-to-image, and `target_size` for image-to-image. Where a
provider has other parameters, they are translated here.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from backends.base import Applied, Model, Request
from backends.errors import BadInput
from backends.fit import closest_aspect_ratio, fit
from backends.images.inputs import as_upload
from backends.options import option

NAMES: Mapping[str, str] = {
    "fal-ai": "Fal",
    "hf-inference": "HF Inference",
    "nscale": "Nscale",
    "replicate": "Replicate",
    "together": "Together",
    "wavespeed": "WaveSpeed",
    "zai-org": "Z.ai",
}
"""The providers of text-to-image, and their names in sentences."""

AUTO = "auto"
MAX_SEED = 2**32 - 1

_UNSUPPORTED = frozenset({"negative_prompt", "num_inference_steps", "guidance_scale", "seed"})
_IGNORED: Mapping[str, frozenset[str]] = {"nscale": _UNSUPPORTED, "zai-org": _UNSUPPORTED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of this backend; the form has a widget for each."""

    provider: str = option(
        AUTO,
        label="Provider",
        help="Who draws, at which price. Auto takes the first one of your order at "
        "huggingface.co/settings/inference-providers.",
        choices=(AUTO, *NAMES),
    )
    bill_to: str = option(
        "",
        label="Bill to",
        help="The organisation on Hugging Face that pays; empty: your own account.",
        own_key=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """The parameters of one job, one API call for each of `seeds`; None is a random seed.

    `image` is the init image: bytes and media type.
    """

    prompt: str
    image: tuple[bytes, str] | None = field(default=None, repr=False)
    parameters: Mapping[str, Any]
    seeds: tuple[int | None, ...]
    provider: str
    bill_to: str
    honoured: Mapping[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Translate `request` into the parameters of the package; slow if there is an init image.

    Raises:
        BadInput: every provider would reject it.
    """
    options, honoured = _options(model, request)
    fitted = fit(model, request)
    honoured = fitted.honoured | honoured
    wanted = fitted.request
    seeds: tuple[int | None, ...] = (None,) * wanted.count
    if "seed" in model.supports:
        # Without a seed, HF Inference would return the same picture from its cache.
        first = secrets.randbelow(2**31 - wanted.count) if wanted.seed is None else wanted.seed
        if not 0 <= first <= MAX_SEED - wanted.count:
            raise BadInput(f"The seed must be a whole number from 0 to {MAX_SEED:,}.")
        seeds = tuple(range(first, first + wanted.count))
        honoured["seed"] = Applied(request.seed, first)
    width, height, image = wanted.width, wanted.height, None
    if wanted.image is not None:
        _, data, media_type = as_upload(wanted.image)
        image = (data, media_type)
    if image is not None and request.width is None and request.height is None:
        # The result has the size of the init image, as the provider reads it.
        width = height = None
        honoured["size"] = Applied(None, None)
    return ApiRequest(
        prompt=wanted.prompt,
        image=image,
        parameters={
            "negative_prompt": wanted.negative_prompt or None,
            "width": width,
            "height": height,
            "num_inference_steps": wanted.num_inference_steps,
            "guidance_scale": wanted.guidance_scale,
        },
        seeds=seeds,
        provider=options.provider,
        bill_to=options.bill_to,
        honoured=honoured,
    )


def for_provider(api_request: ApiRequest, provider: str, provider_id: str) -> ApiRequest:
    """Return the request with the parameters of `provider`; those it ignores are noted."""
    parameters, honoured = dict(api_request.parameters), dict(api_request.honoured)
    ignored = _IGNORED.get(provider, frozenset())
    for name in ignored:
        parameters.pop(name, None)
        before = honoured.pop(name, None)
        if before is not None and before.requested is not None:
            label = name.replace("_", " ").replace("num inference ", "")
            note = before.note or f"{label} ignored: {NAMES[provider]} takes none"
            honoured[name] = Applied(before.requested, None, note)
    translate = text_to_image_parameters if api_request.image is None else image_to_image_parameters
    parameters = translate(parameters, provider, provider_id)
    before = honoured.get("provider", Applied(api_request.provider, None))
    honoured["provider"] = replace(before, used=provider)
    seeds = (None,) * len(api_request.seeds) if "seed" in ignored else api_request.seeds
    return replace(api_request, parameters=parameters, seeds=seeds, honoured=honoured)


def _options(model: Model, request: Request) -> tuple[Options, dict[str, Applied]]:
    """Parse the options; a model that is priced for one provider is sent to no other."""
    chosen: dict[str, str] = {}
    honoured: dict[str, Applied] = {}
    known = {option.name for option in fields(Options)}
    for name, value in request.options.get("huggingface", {}).items():
        if name not in known:
            honoured[name] = Applied(
                value, None, f"{name} ignored: Hugging Face has no such option"
            )
        elif value not in (None, ""):
            chosen[name] = str(value).strip()
    requested = chosen.get("provider", AUTO)
    if requested not in (AUTO, *NAMES):
        raise BadInput(f"The provider must be auto or one of {', '.join(NAMES)}; not {requested}.")
    if not re.fullmatch(r"[\w.-]*", chosen.get("bill_to", ""), re.ASCII):
        raise BadInput("Bill to must be the name of an organisation on Hugging Face.")
    if "bill_to" in chosen:
        honoured["bill_to"] = Applied(chosen["bill_to"], chosen["bill_to"])
    if fixed := model.options.get("provider"):
        chosen["provider"] = str(fixed)
        changed = requested not in (AUTO, fixed)
        note = f"provider {fixed} instead of {requested}: this entry is that provider's"
        honoured["provider"] = Applied(requested, fixed, note if changed else "")
    return Options(**chosen), honoured


Parameters: TypeAlias = Mapping[str, Any]

# Black Forest Labs' models on Replicate have an aspect ratio, which determines the size.
_ASPECT_RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "9:16", "9:21")
_FLUX = "black-forest-labs/"


def text_to_image_parameters(
    parameters: Parameters, provider: str, provider_id: str
) -> dict[str, Any]:
    """Return the parameters of `provider` for text-to-image."""
    translated = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_FLUX):
        return _flux_parameters(translated)
    if provider == "wavespeed":
        # Its models take either this or width and height.
        translated["size"] = f"{translated['width']}*{translated['height']}"
    return translated


def image_to_image_parameters(
    parameters: Parameters, provider: str, provider_id: str
) -> dict[str, Any]:
    """Return the parameters of `provider` for image-to-image.

    Without a size each provider keeps that of the init image, so none is sent then.
    """
    translated = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_FLUX):
        return _flux_parameters(translated)
    width, height = translated.pop("width"), translated.pop("height")
    if width is None or height is None:
        return translated
    match provider:
        case "together":
            translated |= {"width": width, "height": height}
        case "wavespeed":
            translated["size"] = f"{width}*{height}"
        case "replicate":
            pass  # its other models have no common parameter; `honoured` shows the actual size
        case _:
            translated["target_size"] = {"width": width, "height": height}
    return translated


def _flux_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    width, height = parameters.pop("width"), parameters.pop("height")
    return parameters | {
        "aspect_ratio": width and height and closest_aspect_ratio(_ASPECT_RATIOS, width, height),
        "guidance": parameters.pop("guidance_scale"),
        "output_format": "png",  # the default is a lossy WebP
    }
