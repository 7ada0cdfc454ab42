"""One picture's exchange with its provider: it is asked for once, waited for, and fetched.

How a provider is asked for a picture: as Hugging Face's own package prepares it.

Address, headers and body are sent as they are, but for a media type that it gets wrong.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backends.base import Picture
from backends.errors import ServiceFault
from backends.http.client import download
from backends.http.errors import unanswered
from backends.huggingface.credentials import ROUTER, Credentials
from backends.huggingface.errors import Service, rejected, without_picture
from backends.huggingface.providers import DRAW, EDIT
from backends.huggingface.request import ApiRequest
from backends.huggingface.response import Waiting, is_result, parse_response
from backends.images.validation import check

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import InferenceProviderMapping


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """One picture's request, ready to be sent."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seed: int | None


def prepare(
    mapping: "InferenceProviderMapping", account: Credentials, call: ApiRequest
) -> list[PreparedRequest]:
    """Return one request for each picture of `call`; slow at first, run it in a thread."""
    from huggingface_hub.inference import _providers as providers
    from huggingface_hub.inference._common import MimeBytes
    from huggingface_hub.inference._providers import _common as common  # pyright: ignore[reportPrivateUsage]

    # HF Inference is told by the address, the others by the package's table of known models.
    model = f"{ROUTER}/hf-inference/models/{mapping.provider_id}"
    if mapping.provider != "hf-inference":
        model = mapping.hf_model_id
        known = common.HARDCODED_MODEL_INFERENCE_MAPPING
        known.setdefault(mapping.provider, {})[model] = mapping
    helper = providers.get_provider_helper(
        mapping.provider, DRAW if call.image is None else EDIT, model
    )
    inputs: str | MimeBytes = call.prompt
    parameters = dict(call.parameters)
    if call.image is not None:
        inputs = MimeBytes(call.image[0], mime_type=call.image[1])
        parameters["prompt"] = call.prompt
    posts: list[PreparedRequest] = []
    for seed in call.seeds:
        prepared = helper.prepare_request(
            inputs=inputs,
            parameters={**parameters, "seed": seed},
            headers={"X-HF-Bill-To": call.bill_to} if call.bill_to else {},
            model=model,
            api_key=account.token,
        )
        posts.append(
            PreparedRequest(
                url=account.router + prepared.url.removeprefix(ROUTER),
                headers={**prepared.headers, "accept": "image/png"},
                body=prepared.data or _body(prepared.json, call),
                seed=seed,
            )
        )
    return posts


def _body(words: Any, call: ApiRequest) -> bytes:
    image = words.get("image")
    if call.image and isinstance(image, str):
        # For WaveSpeed the package calls every picture a JPEG.
        words = {**words, "image": f"data:{call.image[1]};{image.partition(';')[2]}"}
    return json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A picture, and the seconds that drawing and fetching it took."""

    picture: Picture
    generate: float
    download: float


async def send(
    client: "httpx2.AsyncClient", post: PreparedRequest, provider: str, root: str, service: Service
) -> Result:
    """Send `post` and return what comes of it; `root` is where the provider's paths begin.

    Raises:
        BackendError: no picture came, and why.
        httpx2.RequestError: a failure below HTTP.
        ValueError: the answer is not what this provider sends.
    """
    started = time.perf_counter()
    patience = client.timeout.read
    async with client.stream("POST", post.url, content=post.body, headers=post.headers) as response:
        answered = time.perf_counter()
        body = await response.aread()
    if response.status_code not in (200, 201, 202):
        raise rejected(response, body, service)
    found = await asyncio.to_thread(parse_response, provider, body, service)
    path: str | None = None
    while isinstance(found, Waiting):
        path = found.path or path
        if path is None:
            raise without_picture(service)
        if patience is not None and time.perf_counter() - started > patience:
            raise unanswered(service.name, f"within {patience:g} s")
        await asyncio.sleep(found.pause)
        told = await _look(client, f"{root}{path}", post, service)
        answered = time.perf_counter()
        if told is not None:
            found = await asyncio.to_thread(parse_response, provider, told, service, path)
    picture = found.picture
    if isinstance(picture, str):
        data = await download(client, picture)
        picture = await asyncio.to_thread(check, data)
    ended = time.perf_counter()
    return Result(
        picture=replace(picture, seed=post.seed if found.seed is None else found.seed),
        generate=answered - started if found.seconds is None else found.seconds,
        download=ended - answered,
    )


async def _look(
    client: "httpx2.AsyncClient", url: str, post: PreparedRequest, service: Service
) -> bytes | None:
    """Ask what became of a picture; None where that cannot be said now. Asking costs nothing."""
    import httpx2

    headers = {name: value for name, value in post.headers.items() if name != "content-type"}
    try:
        response = await client.get(url, headers=headers)
    except httpx2.RequestError:
        return None
    if response.status_code == 200:
        return response.content
    if response.status_code in (400, 403, 422, 500) and is_result(response.url.path):
        raise rejected(response, response.content, service)
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        return None
    raise ServiceFault(
        f"{service.name} took the request and does not say what became of it "
        f"({response.status_code}). It may have been billed: look at "
        "huggingface.co/settings/billing before you try again."
    )
