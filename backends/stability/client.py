"""One picture's exchange with Stability AI: it is asked for once, and read with suspicion."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pybase64

from backends.base import Model, Picture
from backends.errors import BackendError, ServiceFault
from backends.images.validation import check
from backends.stability.errors import explain, filtered, rejected, without_picture
from backends.stability.request import ApiRequest, Credentials

if TYPE_CHECKING:
    import httpx2

ROOT = "/v2beta/stable-image"

Part: TypeAlias = tuple[None, str] | tuple[str, bytes, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A picture, and the seconds that drawing and fetching it took."""

    picture: Picture
    generate: float
    download: float


async def send(
    client: "httpx2.AsyncClient",
    account: Credentials,
    model: Model,
    call: ApiRequest,
    seed: int | None,
) -> Result:
    """Ask for one picture.

    Raises:
        BackendError: none came, and why.
    """
    try:
        return await _draw(client, account, model, call, seed)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, account) from error


async def _draw(
    client: "httpx2.AsyncClient",
    account: Credentials,
    model: Model,
    call: ApiRequest,
    seed: int | None,
) -> Result:
    started = time.perf_counter()
    async with client.stream(
        "POST",
        f"{account.base_url}{ROOT}/{call.path}",
        headers={"Authorization": f"Bearer {account.key}", "Accept": "application/json"},
        files=_form(call, seed),
    ) as response:
        answered = time.perf_counter()
        body = await response.aread()
    if response.status_code != 200:
        raise rejected(response, body, account, model)
    picture = await asyncio.to_thread(_picture, body, seed, account)
    return Result(
        picture=picture,
        generate=answered - started,
        download=time.perf_counter() - answered,
    )


def _form(call: ApiRequest, seed: int | None) -> dict[str, Part]:
    """The multipart form, which the API wants even where no file is in it."""
    form: dict[str, Part] = {name: (None, text) for name, text in call.fields.items()}
    if seed is not None:
        form["seed"] = (None, str(seed))
    if call.image is not None:
        form["image"] = ("picture.png", call.image, "image/png")
    return form


def _picture(body: bytes, seed: int | None, account: Credentials) -> Picture:
    match json.loads(body):
        case {"finish_reason": "CONTENT_FILTERED"}:
            raise filtered(account)
        case {"image": str(encoded), **rest}:
            said = rest.get("seed")
            return check(_decoded(encoded), seed=said if isinstance(said, int) and said else seed)
        case _:
            raise without_picture(account)


def _decoded(encoded: str) -> bytes:
    try:
        return pybase64.b64decode(encoded)
    except ValueError as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error
