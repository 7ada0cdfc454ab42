"""What is asked of Hugging Face: the options, and the parameters of one job.

Every provider takes the words of `InferenceClient.text_to_image` or `image_to_image`, and Hugging
Face's own package turns them into its API's. Where a provider is known to take fewer words than the
package sends, that is said here, so that the card says it too; where other ones, in
`huggingface_words.py`.

What each provider calls a job's parameters, where the package does not know it.

`InferenceClient` has `width` and `height` for a picture that is drawn, and `target_size` for one
that is changed. It passes on to the provider what it cannot translate, and there it is ignored or
refused.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from backends.base import Applied, Model, Request
from backends.errors import BadInput
from backends.fit import fit
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
"""Every provider that draws from text, and how a sentence calls it."""

AUTO = "auto"
MOST_SEED = 2**32 - 1

_NOT_TAKEN = frozenset({"negative_prompt", "num_inference_steps", "guidance_scale", "seed"})
_IGNORED: Mapping[str, frozenset[str]] = {"nscale": _NOT_TAKEN, "zai-org": _NOT_TAKEN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; the form is drawn from the fields."""

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
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """One job in the words of the package; each of `seeds` is one picture, None: any seed.

    `image` is what to start from: bytes and a media type.
    """

    prompt: str
    image: tuple[bytes, str] | None = field(default=None, repr=False)
    parameters: Mapping[str, Any]
    seeds: tuple[int | None, ...]
    provider: str
    bill_to: str
    honoured: Mapping[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Put `request` into the words that all providers share; slow where there is a start picture.

    Raises:
        BadInput: no provider would take it.
    """
    options, honoured = _options(model, request)
    fitted = fit(model, request)
    honoured = fitted.honoured | honoured
    asked = fitted.request
    seeds: tuple[int | None, ...] = (None,) * asked.count
    if "seed" in model.supports:
        # Without a seed, HF Inference would answer the same request from its cache.
        first = secrets.randbelow(2**31 - asked.count) if asked.seed is None else asked.seed
        if not 0 <= first <= MOST_SEED - asked.count:
            raise BadInput(f"The seed must be a whole number from 0 to {MOST_SEED:,}.")
        seeds = tuple(range(first, first + asked.count))
        honoured["seed"] = Applied(request.seed, first)
    width, height, image = asked.width, asked.height, None
    if asked.image is not None:
        _, data, media_type = as_upload(asked.image)
        image = (data, media_type)
    if image is not None and request.width is None and request.height is None:
        # A changed picture has the size of what it was made from, as the provider sees it.
        width = height = None
        honoured["size"] = Applied(None, None)
    return ApiRequest(
        prompt=asked.prompt,
        image=image,
        parameters={
            "negative_prompt": asked.negative_prompt or None,
            "width": width,
            "height": height,
            "num_inference_steps": asked.num_inference_steps,
            "guidance_scale": asked.guidance_scale,
        },
        seeds=seeds,
        provider=options.provider,
        bill_to=options.bill_to,
        honoured=honoured,
    )


def addressed(api_request: ApiRequest, provider: str, provider_id: str) -> ApiRequest:
    """Return `call` as `provider` takes it, with what it ignores in `honoured`."""
    parameters, honoured = dict(api_request.parameters), dict(api_request.honoured)
    ignored = _IGNORED.get(provider, frozenset())
    for name in ignored:
        parameters.pop(name, None)
        before = honoured.pop(name, None)
        if before is not None and before.requested is not None:
            words = name.replace("_", " ").replace("num inference ", "")
            note = before.note or f"{words} ignored: {NAMES[provider]} takes none"
            honoured[name] = Applied(before.requested, None, note)
    words = text_to_image_parameters if api_request.image is None else image_to_image_parameters
    parameters = words(parameters, provider, provider_id)
    before = honoured.get("provider", Applied(api_request.provider, None))
    honoured["provider"] = replace(before, used=provider)
    seeds = (None,) * len(api_request.seeds) if "seed" in ignored else api_request.seeds
    return replace(api_request, parameters=parameters, seeds=seeds, honoured=honoured)


def _options(model: Model, request: Request) -> tuple[Options, dict[str, Applied]]:
    """Read the options; a model that is priced for one provider is drawn by no other."""
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
    asked = chosen.get("provider", AUTO)
    if asked not in (AUTO, *NAMES):
        raise BadInput(f"The provider must be auto or one of {', '.join(NAMES)}; not {asked}.")
    if not re.fullmatch(r"[\w.-]*", chosen.get("bill_to", ""), re.ASCII):
        raise BadInput("Bill to must be the name of an organisation on Hugging Face.")
    if "bill_to" in chosen:
        honoured["bill_to"] = Applied(chosen["bill_to"], chosen["bill_to"])
    if fixed := model.options.get("provider"):
        chosen["provider"] = str(fixed)
        changed = asked not in (AUTO, fixed)
        note = f"provider {fixed} instead of {asked}: this entry is that provider's"
        honoured["provider"] = Applied(asked, fixed, note if changed else "")
    return Options(**chosen), honoured


Parameters: TypeAlias = Mapping[str, Any]

# Black Forest Labs' models on Replicate are asked for a shape; the pixels follow from it.
_SHAPES = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "9:16", "9:21")
_SHAPED = "black-forest-labs/"


def text_to_image_parameters(
    parameters: Parameters, provider: str, provider_id: str
) -> dict[str, Any]:
    """Return `parameters` as `provider` knows them where it draws from text."""
    words = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_SHAPED):
        return _shaped(words)
    if provider == "wavespeed":
        # Its models differ in whether they take this or the two numbers.
        words["size"] = f"{words['width']}*{words['height']}"
    return words


def image_to_image_parameters(
    parameters: Parameters, provider: str, provider_id: str
) -> dict[str, Any]:
    """Return `parameters` as `provider` knows them where it starts from a picture.

    Without a size each provider keeps to the picture's own, so none is sent then.
    """
    words = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_SHAPED):
        return _shaped(words)
    width, height = words.pop("width"), words.pop("height")
    if width is None or height is None:
        return words
    match provider:
        case "together":
            words |= {"width": width, "height": height}
        case "wavespeed":
            words["size"] = f"{width}*{height}"
        case "replicate":
            pass  # its other models have no word in common; the card shows what came
        case _:
            words["target_size"] = {"width": width, "height": height}
    return words


def _shaped(words: dict[str, Any]) -> dict[str, Any]:
    width, height = words.pop("width"), words.pop("height")
    return words | {
        "aspect_ratio": width and height and _shape(width, height),
        "guidance": words.pop("guidance_scale"),
        "output_format": "png",  # else a lossy WebP
    }


def _shape(width: int, height: int) -> str:
    def distance(shape: str) -> float:
        across, _, down = shape.partition(":")
        ratio = width * int(down) / (height * int(across))
        return max(ratio, 1 / ratio)

    return min(_SHAPES, key=distance)
