"""Find the providers of a model, for text-to-image or image-to-image.

The package's own lookup blocks, has no timeout and caches its result for ever. So the Hub is
queried here, and the result is passed to the package.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backends.base import Model
from backends.errors import (
    BackendError,
    BadInput,
    RetiredModel,
    ServiceFault,
    TimedOut,
    Unanswered,
)
from backends.http.errors import transport_failure
from backends.huggingface.credentials import Credentials
from backends.huggingface.errors import Service, rejected
from backends.huggingface.request import AUTO, NAMES, ApiRequest
from backends.json_values import loads
from backends.lazy_import import import_once

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import InferenceProviderMapping

TEXT_TO_IMAGE = "text-to-image"
IMAGE_TO_IMAGE = "image-to-image"
EDITORS = frozenset({"fal-ai", "hf-inference", "replicate", "together", "wavespeed"})
"""The providers for which the package can send an init image."""

CACHE_SECONDS = 300.0
"""Seconds for which the Hub's response is cached."""

MAX_PROVIDERS = 100
"""Providers of one model that are considered."""

MAX_LOOKUP_SECONDS = 30.0
_HUB = "The Hugging Face Hub"


class Directory:
    """The providers of each model, cached for `CACHE_SECONDS`."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], tuple[float, list[InferenceProviderMapping]]] = {}

    async def find(
        self,
        client: "httpx2.AsyncClient",
        credentials: Credentials,
        model: Model,
        api_request: ApiRequest,
    ) -> "InferenceProviderMapping":
        """Return the requested provider of `model`, or the first in the account's order.

        Raises:
            BadInput: the requested provider does not serve the model, or it is served for
                text-to-image only, or for image-to-image only.
            RetiredModel: no provider serves the model.
            BackendError: the Hub could not be queried.
        """
        key = (credentials.hub, model.source)
        queried_at, listed = self._cache.get(key, (0.0, []))
        if not listed or time.monotonic() - queried_at > CACHE_SECONDS:
            listed = await _query(client, credentials, model)
            self._cache[key] = (time.monotonic(), listed)
        return _choose(listed, model, api_request)


async def _query(
    client: "httpx2.AsyncClient", credentials: Credentials, model: Model
) -> "list[InferenceProviderMapping]":
    import httpx2

    # The package takes a third of a second to import: not on the loop.
    hub = await asyncio.to_thread(import_once, "huggingface_hub.hf_api")
    default = client.timeout
    try:
        response = await client.get(
            f"{credentials.hub}/api/models/{quote(model.source)}",
            params={"expand": "inferenceProviderMapping"},
            headers={"Authorization": f"Bearer {credentials.token}"},
            timeout=httpx2.Timeout(
                min(default.read or MAX_LOOKUP_SECONDS, MAX_LOOKUP_SECONDS), connect=default.connect
            ),
            follow_redirects=True,  # models are renamed
        )
    except httpx2.RequestError as error:
        raise _free(transport_failure(error, _HUB)) from error
    refusal = response.headers.get("x-error-message", "")
    hidden = "x-error-code" in response.headers and "credentials" not in refusal.lower()
    if response.status_code == 404 or hidden:
        raise RetiredModel(f"{_HUB} shows this token no model {model.source}. Choose another.")
    if response.status_code != 200:
        service = Service(name=_HUB, model=model.source, token=credentials.token)
        raise _free(rejected(response, response.content, service))
    try:
        info = await asyncio.to_thread(_parse_info, hub, response.content)
    except Exception as error:
        raise ServiceFault(
            f"{_HUB} sent an answer that cannot be read. Nothing was sent to a provider. "
            "Try again later.",
            charged=False,
        ) from error
    return (info.inference_provider_mapping or [])[:MAX_PROVIDERS]


def _parse_info(hub: Any, body: bytes) -> Any:
    return hub.ModelInfo(**loads(body))


def _free(failure: BackendError) -> BackendError:
    """Return `failure` as that of a query, which costs nothing."""
    if isinstance(failure, Unanswered):
        return TimedOut(
            f"{_HUB} did not say who serves the model. Nothing was sent to a provider. "
            "Try again later."
        )
    failure.charged = False
    return failure


def _choose(
    listed: "Sequence[InferenceProviderMapping]", model: Model, api_request: ApiRequest
) -> "InferenceProviderMapping":
    text_to_image = [
        each for each in listed if each.task == TEXT_TO_IMAGE and each.provider in NAMES
    ]
    image_to_image = [
        each for each in listed if each.task == IMAGE_TO_IMAGE and each.provider in EDITORS
    ]
    serving = text_to_image if api_request.image is None else image_to_image
    serving.sort(key=lambda each: each.status != "live")  # live ones first; the others may work
    if not serving and image_to_image:
        raise BadInput(
            f"{model.label} only changes a picture. Give it one to start from, or use it as the "
            "second step."
        )
    if not serving and text_to_image:
        raise BadInput(
            f"No provider takes a start picture for {model.label} through Hugging Face at "
            "present. Leave it out, or choose another model."
        )
    if not serving:
        raise RetiredModel(
            f"No provider draws {model.label} through Hugging Face at present. "
            "Choose another model."
        )
    found = next((each for each in serving if api_request.provider in (AUTO, each.provider)), None)
    if found is None:
        others = ", ".join(each.provider for each in serving)
        with_it = "" if api_request.image is None else " from a start picture"
        raise BadInput(
            f"{NAMES[api_request.provider]} does not draw {model.label}{with_it} through Hugging "
            f"Face at present. Set the provider to auto or one of these: {others}."
        )
    return found
