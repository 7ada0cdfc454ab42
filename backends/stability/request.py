"""What is asked of Stability AI's image API: the options, the account, the calls of one job."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backends.base import Applied, Model, Request
from backends.errors import BadInput
from backends.fit import STRENGTH, fit
from backends.options import option, parse_options
from backends.stability.control import CONTROL, ControlRequest, build_control

RATIOS = ("1:1", "2:3", "3:2", "4:5", "5:4", "9:16", "16:9", "9:21", "21:9")
MOST_NEGATIVE = 10_000
LEAST_GUIDANCE, MOST_GUIDANCE = 1.0, 10.0
SEEDS = 4_294_967_294
"""The greatest seed of the API; 0 is none of its seeds, but asks for any."""

_STYLES = (
    "3d-model analog-film anime cinematic comic-book digital-art enhance fantasy-art isometric "
    "line-art low-poly modeling-compound neon-punk origami photographic pixel-art tile-texture"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; the form is drawn from the fields."""

    style_preset: str = option(
        "",
        label="Style",
        help="Leans towards a style. Stable Diffusion 3.5 takes none.",
        choices=("", *_STYLES.split()),
    )
    output_format: str = option(
        "png",
        label="File format",
        help="JPEG and WebP are smaller. Stable Diffusion 3.5 has no WebP.",
        choices=("png", "jpeg", "webp"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """One job in the API's words; each of `seeds` is one picture, None leaves it to the service.

    `path` is the service's below `/v2beta/stable-image`; `image` the control picture or the one to
    start from, as PNG.
    """

    path: str
    fields: Mapping[str, str]
    image: bytes | None = field(repr=False)
    seeds: tuple[int | None, ...]
    honoured: Mapping[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Put `request` into the API's words; slow where there is a picture to send along.

    Raises:
        BadInput: the service would not take it.
    """
    fitted = fit(model, request)
    asked, honoured = fitted.request, dict(fitted.honoured)
    if len(asked.negative_prompt) > MOST_NEGATIVE:
        raise BadInput(f"A negative prompt has at most {MOST_NEGATIVE:,} characters. Shorten it.")
    fields = {"prompt": asked.prompt}
    if asked.negative_prompt:
        fields["negative_prompt"] = asked.negative_prompt
    steering: ControlRequest | None = None
    if model.source == CONTROL:
        steering = build_control(model, request, fitted, honoured)
        path = f"control/{steering.way}"
        fields["control_strength"] = f"{steering.strength:g}"
    elif _is_sd3(model):
        path = "generate/sd3"
        fields["model"] = model.source
    else:
        path = f"generate/{model.source}"
    image = steering.image if steering else None
    if asked.image is not None:
        fields["strength"] = f"{asked.strength or STRENGTH:g}"
        image = _start(asked)
    if asked.image is not None and _is_sd3(model):
        # The result gets the shape of what is sent; the API takes no other beside it.
        fields["mode"] = "image-to-image"
    elif steering is None:
        fields["aspect_ratio"] = _ratio(asked.width or 1, asked.height or 1)
        honoured["aspect_ratio"] = Applied(None, fields["aspect_ratio"])
    if asked.guidance_scale is not None:
        fields["cfg_scale"] = f"{_guidance(asked.guidance_scale, honoured):g}"
    fields |= _styled(model, request, honoured)
    return ApiRequest(
        path=path,
        fields=fields,
        image=image,
        seeds=_seeds(asked, honoured),
        honoured=honoured,
    )


def _start(asked: Request) -> bytes:
    from backends.images import decoding

    return decoding.prepare_init_image(
        asked.image or b"", asked.width or 1024, asked.height or 1024
    )


def _is_sd3(model: Model) -> bool:
    return model.source.startswith("sd3")


def _ratio(width: int, height: int) -> str:
    """The shape nearest to the wished one: the API knows no pixels."""

    def distance(ratio: str) -> float:
        across, _, down = ratio.partition(":")
        shape = int(across) * height / (int(down) * width)
        return max(shape, 1 / shape)

    return min(RATIOS, key=distance)


def _guidance(asked: float, honoured: dict[str, Applied]) -> float:
    used = min(max(asked, LEAST_GUIDANCE), MOST_GUIDANCE)
    if used != asked:
        note = f"guidance scale {used:g} instead of {asked:g}"
        honoured["guidance_scale"] = Applied(asked, used, note)
    return used


def _styled(model: Model, request: Request, honoured: dict[str, Applied]) -> dict[str, str]:
    """The options' fields, corrected to what the model has."""
    options, ignored = parse_options(Options, request.options.get("stability", {}), "Stability AI")
    honoured |= ignored
    if _is_sd3(model):
        if options.style_preset:
            note = f"style ignored: {model.label} takes none"
            honoured["style_preset"] = Applied(options.style_preset, None, note)
        if options.output_format == "webp":
            honoured["output_format"] = Applied("webp", "png", "PNG instead of WebP")
            options = replace(options, output_format="png")
    elif options.style_preset:
        honoured["style_preset"] = Applied(options.style_preset, options.style_preset)
        return {"style_preset": options.style_preset, "output_format": options.output_format}
    return {"output_format": options.output_format}


def _seeds(request: Request, honoured: dict[str, Applied]) -> tuple[int | None, ...]:
    """Count up from the seed, through the API's seeds only, each of which is another picture."""
    if request.seed is None:
        return (None,) * request.count
    seeds = tuple(1 + (request.seed - 1 + number) % SEEDS for number in range(request.count))
    if seeds[0] != request.seed:
        note = f"seed {seeds[0]} instead of {request.seed}"
        honoured["seed"] = Applied(request.seed, seeds[0], note)
    return seeds
