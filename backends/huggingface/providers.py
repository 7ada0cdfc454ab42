"""Who serves a model, and whether for drawing from text or for changing a picture.

The package would look that up by a call that blocks, waits without end and keeps its answer for
ever; so the Hub is asked here, and the package told.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
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
from backends.lazy_import import import_once

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import InferenceProviderMapping

DRAW = "text-to-image"
EDIT = "image-to-image"
EDITORS = frozenset({"fal-ai", "hf-inference", "replicate", "together", "wavespeed"})
"""The providers that the package can send a picture to start from."""

FRESH = 300.0
"""Seconds for which the Hub's answer is taken for true."""

MOST_WAIT = 30.0
_HUB = "The Hugging Face Hub"


class Directory:
    """The providers of each model, as the Hub listed them a short while ago."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, list[InferenceProviderMapping]]] = {}

    async def find(
        self,
        client: "httpx2.AsyncClient",
        credentials: Credentials,
        model: Model,
        api_request: ApiRequest,
    ) -> "InferenceProviderMapping":
        """Return who is to draw `call`: whom it wants, or the first of the account's own order.

        Raises:
            BadInput: others serve the model, but not the wanted provider, or it is served for
                drawing from text only, or only for changing a picture.
            RetiredModel: nobody does.
            BackendError: the Hub could not be asked.
        """
        key = (credentials.hub, model.source)
        asked_at, listed = self._known.get(key, (0.0, []))
        if not listed or time.monotonic() - asked_at > FRESH:
            listed = await _listed(client, credentials, model)
            self._known[key] = (time.monotonic(), listed)
        return _chosen(listed, model, api_request)


async def _listed(
    client: "httpx2.AsyncClient", credentials: Credentials, model: Model
) -> "list[InferenceProviderMapping]":
    import httpx2

    # The package takes a third of a second to import: not on the loop.
    hub = await asyncio.to_thread(import_once, "huggingface_hub.hf_api")
    usual = client.timeout
    try:
        response = await client.get(
            f"{credentials.hub}/api/models/{quote(model.source)}",
            params={"expand": "inferenceProviderMapping"},
            headers={"Authorization": f"Bearer {credentials.token}"},
            timeout=httpx2.Timeout(min(usual.read or MOST_WAIT, MOST_WAIT), connect=usual.connect),
            follow_redirects=True,  # models are renamed
        )
    except httpx2.RequestError as error:
        raise _harmless(transport_failure(error, _HUB)) from error
    refusal = response.headers.get("x-error-message", "")
    hidden = "x-error-code" in response.headers and "credentials" not in refusal.lower()
    if response.status_code == 404 or hidden:
        raise RetiredModel(f"{_HUB} shows this token no model {model.source}. Choose another.")
    if response.status_code != 200:
        asked = Service(name=_HUB, model=model.source, token=credentials.token)
        raise _harmless(rejected(response, response.content, asked))
    try:
        info = hub.ModelInfo(**response.json())
    except Exception as error:
        raise ServiceFault(
            f"{_HUB} sent an answer that cannot be read. Nothing was sent to a provider. "
            "Try again later.",
            charged=False,
        ) from error
    return info.inference_provider_mapping or []


def _harmless(fault: BackendError) -> BackendError:
    """Return `fault` as that of a question, which costs nothing."""
    if isinstance(fault, Unanswered):
        return TimedOut(
            f"{_HUB} did not say who serves the model. Nothing was sent to a provider. "
            "Try again later."
        )
    fault.charged = False
    return fault


def _chosen(
    listed: "Sequence[InferenceProviderMapping]", model: Model, api_request: ApiRequest
) -> "InferenceProviderMapping":
    drawers = [each for each in listed if each.task == DRAW and each.provider in NAMES]
    editors = [each for each in listed if each.task == EDIT and each.provider in EDITORS]
    serving = drawers if api_request.image is None else editors
    serving.sort(key=lambda each: each.status != "live")  # the others may work, those come first
    if not serving and editors:
        raise BadInput(
            f"{model.label} only changes a picture. Give it one to start from, or use it as the "
            "second step."
        )
    if not serving and drawers:
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
