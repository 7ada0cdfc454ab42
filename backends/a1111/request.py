"""What is asked of an AUTOMATIC1111 server: its address, the options, the parameters of a call."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.base import Applied, Config, Control, Model, Request, Value
from backends.fit import STRENGTH, fit
from backends.http.self_hosted import SelfHostedServer
from backends.options import option, parse_options

CURRENT_CHECKPOINT = "current"
"""The source of a model that stands for whatever checkpoint the server has loaded."""

EXAMPLE_URL = "http://127.0.0.1:7861"
NO_URL = (
    "Set A1111_URL to the address of your AUTOMATIC1111, Forge or SD.Next server, "
    f"for example {EXAMPLE_URL}, and start that with --api."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; empty means the server's own."""

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
    """One call: its parameters, how many pictures it asks for, the steps of all, what was taken.

    `controls` are the request's, by their names in `honoured`.
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
    """Return the server of the settings.

    Raises:
        NotReady: there is no address, or it makes no sense.
    """
    found = SelfHostedServer.from_config(config, "A1111", example=EXAMPLE_URL, unset=NO_URL)
    return replace(found, url=found.url.removesuffix("/sdapi/v1"))


def build_request(model: Model, request: Request) -> ApiRequest:
    """Put `request` into the API's words, all but what must first be looked up on the server.

    Slow where there is a picture to start from.

    Raises:
        BadInput: nothing sensible can be made of the request.
    """
    fitted = fit(model, request)
    options, ignored = _parse_options(request.options.get("a1111", {}))
    asked = fitted.request
    task = f"task({secrets.token_hex(8)})"
    body: dict[str, Any] = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "width": asked.width,
        "height": asked.height,
        "seed": -1 if asked.seed is None else asked.seed,
        # One after the other: a batch needs the memory of all its pictures at once.
        "batch_size": 1,
        "n_iter": asked.count,
        "steps": asked.num_inference_steps,
        "cfg_scale": asked.guidance_scale,
        "send_images": True,
        "save_images": False,
        "force_task_id": task,
    }
    steps, path = asked.num_inference_steps, "/sdapi/v1/txt2img"
    if asked.image is not None:
        strength = asked.strength or STRENGTH
        path = "/sdapi/v1/img2img"
        body |= {"init_images": [_encode_init_image(asked)], "denoising_strength": strength}
        # The server takes that share of the steps and one, unless it is set up to take them all.
        steps = None if steps is None else int(min(strength, 0.999) * steps) + 1
    return ApiRequest(
        path=path,
        task_id=task,
        body={name: value for name, value in body.items() if value is not None},
        count=asked.count,
        steps=None if steps is None else steps * asked.count,
        request=asked,
        controls=fitted.controls,
        options=options,
        honoured=fitted.honoured | ignored,
    )


def _encode_init_image(asked: Request) -> str:
    from backends.images import decoding

    size = (asked.width or 512, asked.height or 512)
    return base64.b64encode(decoding.prepare_init_image(asked.image or b"", *size)).decode()


def _parse_options(chosen: Mapping[str, Value]) -> tuple[Options, dict[str, Applied]]:
    texts = {name: str(value or "").strip() for name, value in chosen.items()}
    return parse_options(Options, texts, "A1111")
