"""Call a provider through Hugging Face: prepare a request, send it, poll, and download the picture.

Hugging Face's package prepares address, headers and body; they are sent unchanged, except for a
media type that it gets wrong.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backends.errors import BackendError, ServiceFault
from backends.hosted import Result
from backends.http.client import ClientPool
from backends.http.errors import unanswered
from backends.http.pictures import PictureFetcher
from backends.huggingface.credentials import ROUTER, Credentials
from backends.huggingface.errors import (
    Service,
    explain,
    rejected,
    says_ended,
    without_picture,
)
from backends.huggingface.providers import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from backends.huggingface.request import ApiRequest
from backends.huggingface.response import Waiting, is_result, parse_response
from backends.images.validation import check

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import InferenceProviderMapping


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """A complete HTTP request for one picture."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seed: int | None


def prepare(
    mapping: "InferenceProviderMapping", credentials: Credentials, api_request: ApiRequest
) -> list[PreparedRequest]:
    """Return one request per picture; slow at first, call it in a thread."""
    from huggingface_hub.inference import _providers as providers
    from huggingface_hub.inference._common import MimeBytes
    from huggingface_hub.inference._providers import _common as common  # pyright: ignore[reportPrivateUsage]

    # HF Inference takes the model in the address, the others from the package's table of models.
    model = f"{ROUTER}/hf-inference/models/{mapping.provider_id}"
    if mapping.provider != "hf-inference":
        model = mapping.hf_model_id
        known = common.HARDCODED_MODEL_INFERENCE_MAPPING
        known.setdefault(mapping.provider, {})[model] = mapping
    helper = providers.get_provider_helper(
        mapping.provider, TEXT_TO_IMAGE if api_request.image is None else IMAGE_TO_IMAGE, model
    )
    inputs: str | MimeBytes = api_request.prompt
    parameters = dict(api_request.parameters)
    if api_request.image is not None:
        inputs = MimeBytes(api_request.image[0], mime_type=api_request.image[1])
        parameters["prompt"] = api_request.prompt
    requests: list[PreparedRequest] = []
    for seed in api_request.seeds:
        parts = helper.prepare_request(
            inputs=inputs,
            parameters={**parameters, "seed": seed},
            headers={"X-HF-Bill-To": api_request.bill_to} if api_request.bill_to else {},
            model=model,
            api_key=credentials.token,
        )
        requests.append(
            PreparedRequest(
                url=credentials.router + parts.url.removeprefix(ROUTER),
                headers={**parts.headers, "accept": "image/png"},
                body=parts.data or _body(parts.json, api_request),
                seed=seed,
            )
        )
    return requests


def _body(payload: Any, api_request: ApiRequest) -> bytes:
    image = payload.get("image")
    if api_request.image and isinstance(image, str):
        # For WaveSpeed the package declares every picture a JPEG.
        payload = {**payload, "image": f"data:{api_request.image[1]};{image.partition(';')[2]}"}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


async def send(
    clients: ClientPool,
    prepared: PreparedRequest,
    provider: str,
    root: str,
    service: Service,
) -> Result:
    """Request one picture; `root` is the address below which the provider's paths lie.

    Raises:
        BackendError: no picture was returned; the sentence says why.
    """
    try:
        return await _exchange(clients, prepared, provider, root, service)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, service) from error


async def _exchange(
    clients: ClientPool,
    prepared: PreparedRequest,
    provider: str,
    root: str,
    service: Service,
) -> Result:
    """Send the request, poll until the picture is finished, and download it.

    Raises:
        BackendError: no picture was returned; the sentence says why.
        httpx2.RequestError: a failure below HTTP.
        ValueError: the response is not in this provider's format.
    """
    client = await clients.get()
    started = time.perf_counter()
    limit = client.timeout.read
    async with client.stream(
        "POST", prepared.url, content=prepared.body, headers=prepared.headers
    ) as response:
        answered = time.perf_counter()
        body = await response.aread()
    if response.status_code not in (200, 201, 202):
        raise rejected(response, body, service)
    found = await asyncio.to_thread(parse_response, provider, body, service)
    path: str | None = None
    queued = 0.0
    while isinstance(found, Waiting):
        seen, is_queued = answered, found.queued
        path = found.path or path
        if path is None:
            raise without_picture(service)
        if limit is not None and time.perf_counter() - started > limit:
            raise unanswered(service.name, f"within {limit:g} s")
        await asyncio.sleep(found.pause)
        body = await _poll(client, f"{root}{path}", prepared, service)
        answered = time.perf_counter()
        queued += answered - seen if is_queued else 0.0
        if body is not None:
            found = await asyncio.to_thread(parse_response, provider, body, service, path)
    picture = found.picture
    if isinstance(picture, str):
        data = await PictureFetcher(clients, root).fetch(picture)
        picture = await asyncio.to_thread(check, data)
    ended = time.perf_counter()
    seed = prepared.seed if found.seed is None else found.seed
    return Result(
        pictures=(replace(picture, seed=seed),),
        queued=queued,
        generate=answered - started - queued if found.seconds is None else found.seconds,
        download=ended - answered,
    )


async def _poll(
    client: "httpx2.AsyncClient", url: str, prepared: PreparedRequest, service: Service
) -> bytes | None:
    """Query the state of a picture, which costs nothing; None where it is unknown for now."""
    import httpx2

    from backends.http.limits import AnswerRefused

    headers = {name: value for name, value in prepared.headers.items() if name != "content-type"}
    try:
        response = await client.get(url, headers=headers)
    except AnswerRefused as error:
        raise ServiceFault(
            f"{service.name} sent {error} about the picture that it makes, which Lineup does not "
            "read. It may have been billed: look at huggingface.co/settings/billing before you try "
            "again."
        ) from error
    except httpx2.RequestError:
        return None
    if response.status_code in (200, 201, 202):  # Fal answers 202 while a job waits or is drawn
        return response.content
    # The result of a job that failed has the model's own status, whatever that is.
    ended = response.status_code in (400, 403, 422, 500) or (
        response.status_code >= 429 and says_ended(response.headers, response.content)
    )
    if ended and is_result(response.url.path):
        raise rejected(response, response.content, service)
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        return None
    raise ServiceFault(
        f"{service.name} took the request and does not say what became of it "
        f"({response.status_code}). It may have been billed: look at "
        "huggingface.co/settings/billing before you try again."
    )
