"""Build the request to an AUTOMATIC1111 server: its address, the options, the API's parameters."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from backends.base import Applied, Config, Control, Model, Request, Value
from backends.fit import STRENGTH, fit
from backends.http.self_hosted import SelfHostedServer
from backends.options import option, parse_options
from backends.prompt_syntax import Syntax

SYNTAX: Final = frozenset({Syntax.LORA, Syntax.WEIGHTS})
"""The notations in prompts that it understands."""

CURRENT_CHECKPOINT = "current"
"""The source of the model that stands for whichever checkpoint the server has loaded."""

EXAMPLE_URL = "http://127.0.0.1:7861"
NO_URL = (
    "Set A1111_URL to the address of your AUTOMATIC1111, Forge or SD.Next server, "
    f"for example {EXAMPLE_URL}, and start that with --api."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of this backend; an empty one keeps the server's setting."""

    sampler_name: str = option(
        "",
        label="Sampler",
        help="As the server calls it, for example DPM++ 2M. Empty: the server's own.",
    )
    scheduler: str = option(
        "",
        label="Schedule type",
        help="As the server calls it, for example Karras. Empty: the sampler's own.",
    )
    control_model: str = option(
        "",
        label="ControlNet model",
        help="As the server calls it. Empty: the one that fits the preprocessor by name. "
        "For several control pictures one name each, with commas.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """One call of the API: path and body, number of pictures, and the steps of all of them.

    `steps` is None if unknown. `controls` are those of the request, by their names in `honoured`.
    """

    path: str
    task_id: str
    body: dict[str, Any] = field(repr=False)
    count: int
    steps: int | None
    request: Request = field(repr=False)
    controls: Mapping[str, Control] = field(repr=False)
    options: Options
    honoured: dict[str, Applied]


def server_from_config(config: Config) -> SelfHostedServer:
    """Return the server named by the settings.

    Raises:
        NotReady: A1111_URL is missing or invalid.
    """
    server = SelfHostedServer.from_config(config, "A1111", example=EXAMPLE_URL, unset=NO_URL)
    return replace(server, url=server.url.removesuffix("/sdapi/v1"))


def build_request(model: Model, request: Request) -> ApiRequest:
    """Translate `request` into the API's parameters; names on the server are resolved later.

    Slow with an initial image: call it in a thread.

    Raises:
        BadInput: the request does not fit the model.
    """
    result = fit(model, request, syntax=SYNTAX)
    options, ignored = _parse_options(request.options.get("a1111", {}))
    fitted = result.request
    task = f"task({secrets.token_hex(8)})"
    body: dict[str, Any] = {
        "prompt": fitted.prompt,
        "negative_prompt": fitted.negative_prompt,
        "width": fitted.width,
        "height": fitted.height,
        "seed": -1 if fitted.seed is None else fitted.seed,
        # One picture after the other: a batch needs the memory of all its pictures at once.
        "batch_size": 1,
        "n_iter": fitted.count,
        "steps": fitted.num_inference_steps,
        "cfg_scale": fitted.guidance_scale,
        "send_images": True,
        "save_images": False,
        "force_task_id": task,
    }
    steps, path = fitted.num_inference_steps, "/sdapi/v1/txt2img"
    if fitted.image is not None:
        strength = fitted.strength or STRENGTH
        path = "/sdapi/v1/img2img"
        body |= {"init_images": [_encode_init_image(fitted)], "denoising_strength": strength}
        # The server runs that share of the steps and one more, unless it is configured to run all.
        steps = None if steps is None else int(min(strength, 0.999) * steps) + 1
    return ApiRequest(
        path=path,
        task_id=task,
        body={name: value for name, value in body.items() if value is not None},
        count=fitted.count,
        steps=None if steps is None else steps * fitted.count,
        request=fitted,
        controls=result.controls,
        options=options,
        honoured=result.honoured | ignored,
    )


def _encode_init_image(fitted: Request) -> str:
    from backends.images import decoding

    size = (fitted.width or 512, fitted.height or 512)
    return base64.b64encode(decoding.prepare_init_image(fitted.image or b"", *size)).decode()


def _parse_options(values: Mapping[str, Value]) -> tuple[Options, dict[str, Applied]]:
    stripped = {name: str(value or "").strip() for name, value in values.items()}
    return parse_options(Options, stripped, "A1111")
