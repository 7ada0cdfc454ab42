"""Build requests for Stability AI's image API: the options, and the parameters of one job."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backends.base import Applied, Model, Request
from backends.errors import BadInput
from backends.fit import STRENGTH, closest_aspect_ratio, fit
from backends.options import option, parse_options
from backends.stability.control import CONTROL, ControlRequest, build_control

RATIOS = ("1:1", "2:3", "3:2", "4:5", "5:4", "9:16", "16:9", "9:21", "21:9")
MAX_NEGATIVE_PROMPT = 10_000
MIN_GUIDANCE, MAX_GUIDANCE = 1.0, 10.0
MAX_SEED = 4_294_967_294
"""The API's seeds are 1 to this number; 0 stands for a random one."""

_STYLES = (
    "3d-model analog-film anime cinematic comic-book digital-art enhance fantasy-art isometric "
    "line-art low-poly modeling-compound neon-punk origami photographic pixel-art tile-texture"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of this backend; the form has a widget for each."""

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
    """The parameters of one job, one API call for each of `seeds`; None is a random seed.

    `path` is the endpoint below `/v2beta/stable-image`; `image` is the control picture or the init
    image, as PNG.
    """

    path: str
    fields: Mapping[str, str]
    image: bytes | None = field(repr=False)
    seeds: tuple[int | None, ...]
    honoured: Mapping[str, Applied]


def build_request(model: Model, request: Request) -> ApiRequest:
    """Translate `request` into parameters of the API; slow if there is a picture to send.

    Raises:
        BadInput: the service would reject it.
    """
    fitted = fit(model, request)
    wanted, honoured = fitted.request, dict(fitted.honoured)
    if len(wanted.negative_prompt) > MAX_NEGATIVE_PROMPT:
        raise BadInput(
            f"A negative prompt has at most {MAX_NEGATIVE_PROMPT:,} characters. Shorten it."
        )
    fields = {"prompt": wanted.prompt}
    if wanted.negative_prompt:
        fields["negative_prompt"] = wanted.negative_prompt
    control: ControlRequest | None = None
    if model.source == CONTROL:
        control = build_control(model, request, fitted, honoured)
        path = f"control/{control.endpoint}"
        fields["control_strength"] = f"{control.strength:g}"
    elif _is_sd3(model):
        path = "generate/sd3"
        fields["model"] = model.source
    else:
        path = f"generate/{model.source}"
    image = control.image if control else None
    if wanted.image is not None:
        fields["strength"] = f"{wanted.strength or STRENGTH:g}"
        image = _init_image(wanted)
    if wanted.image is not None and _is_sd3(model):
        # The result has the aspect ratio of the init image; the API rejects another one.
        fields["mode"] = "image-to-image"
    elif control is None:
        ratio = closest_aspect_ratio(RATIOS, wanted.width or 1, wanted.height or 1)
        fields["aspect_ratio"] = ratio
        honoured["aspect_ratio"] = Applied(None, ratio)
    if wanted.guidance_scale is not None:
        fields["cfg_scale"] = f"{_guidance(wanted.guidance_scale, honoured):g}"
    fields |= _option_fields(model, request, honoured)
    return ApiRequest(
        path=path,
        fields=fields,
        image=image,
        seeds=_seeds(wanted, honoured),
        honoured=honoured,
    )


def _init_image(wanted: Request) -> bytes:
    from backends.images import decoding

    return decoding.prepare_init_image(
        wanted.image or b"", wanted.width or 1024, wanted.height or 1024
    )


def _is_sd3(model: Model) -> bool:
    return model.source.startswith("sd3")


def _guidance(requested: float, honoured: dict[str, Applied]) -> float:
    used = min(max(requested, MIN_GUIDANCE), MAX_GUIDANCE)
    if used != requested:
        note = f"guidance scale {used:g} instead of {requested:g}"
        honoured["guidance_scale"] = Applied(requested, used, note)
    return used


def _option_fields(model: Model, request: Request, honoured: dict[str, Applied]) -> dict[str, str]:
    """Return the form fields of the options, corrected to what the model supports."""
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
    """Return one seed per picture, counting up from the request's within 1 to `MAX_SEED`."""
    if request.seed is None:
        return (None,) * request.count
    seeds = tuple(1 + (request.seed - 1 + number) % MAX_SEED for number in range(request.count))
    if seeds[0] != request.seed:
        note = f"seed {seeds[0]} instead of {request.seed}"
        honoured["seed"] = Applied(request.seed, seeds[0], note)
    return seeds
