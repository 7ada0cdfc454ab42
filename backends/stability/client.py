"""Call Stability AI's image API: one request, one picture."""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from backends.base import Model, Picture
from backends.errors import BackendError
from backends.hosted import Result
from backends.images.base64_json import decode_base64, parse_pictures
from backends.images.formats import format_of
from backends.images.validation import check
from backends.json_values import loads
from backends.stability.credentials import Credentials
from backends.stability.errors import explain, filtered, rejected, without_picture
from backends.stability.request import ApiRequest

if TYPE_CHECKING:
    import httpx2

ROOT = "/v2beta/stable-image"

Part: TypeAlias = tuple[None, str] | tuple[str, bytes, str]


async def send(
    client: "httpx2.AsyncClient",
    credentials: Credentials,
    model: Model,
    api_request: ApiRequest,
    seed: int | None,
) -> Result:
    """Request one picture.

    Raises:
        BackendError: no picture was returned; the sentence says why.
    """
    try:
        return await _exchange(client, credentials, model, api_request, seed)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, credentials) from error


async def _exchange(
    client: "httpx2.AsyncClient",
    credentials: Credentials,
    model: Model,
    api_request: ApiRequest,
    seed: int | None,
) -> Result:
    started = time.perf_counter()
    async with client.stream(
        "POST",
        f"{credentials.base_url}{ROOT}/{api_request.path}",
        headers={"Authorization": f"Bearer {credentials.key}", "Accept": "application/json"},
        files=_form(api_request, seed),
    ) as response:
        answered = time.perf_counter()
        body = await response.aread()
    if response.status_code != 200:
        raise rejected(response, body, credentials, model)
    picture = await asyncio.to_thread(_parse_response, body, seed, credentials)
    return Result(
        pictures=(picture,),
        generate=answered - started,
        download=time.perf_counter() - answered,
    )


def _form(api_request: ApiRequest, seed: int | None) -> dict[str, Part]:
    """Return the multipart form, which the API requires even without a file in it."""
    form: dict[str, Part] = {name: (None, text) for name, text in api_request.fields.items()}
    if seed is not None:
        form["seed"] = (None, str(seed))
    if api_request.image is not None:
        form["image"] = ("picture.png", api_request.image, "image/png")
    return form


def _parse_response(body: bytes, seed: int | None, credentials: Credentials) -> Picture:
    if format_of(body[:32]) is not None:  # bytes, although JSON was asked for
        return check(body, seed=seed)
    match loads(body):
        case {"finish_reason": "CONTENT_FILTERED"}:
            raise filtered(credentials)
        case {"image": str(encoded), **rest}:
            used = rest.get("seed")
            seed = used if isinstance(used, int) and used else seed
            return check(decode_base64(encoded), seed=seed)
        case _:
            pictures = [each for each in parse_pictures(body).pictures if isinstance(each, Picture)]
            if not pictures:
                raise without_picture(body, credentials)
            return replace(pictures[0], seed=seed)
