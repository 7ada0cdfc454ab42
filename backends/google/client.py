"""Call Google's Gemini API through the company's SDK: a prompt is sent, JSON comes back.

Everything that the SDK does by itself is switched off: retries, continuations and function calling.
It returns the response as text, because parsing megabytes of base64 into its own types would block
the event loop; `response` parses it in a thread.
"""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from backends.base import Model
from backends.errors import BackendError, MissingPackage
from backends.google.credentials import Credentials
from backends.google.errors import explain, safe_cause
from backends.google.request import ApiRequest
from backends.google.response import parse_response
from backends.hosted import Result
from backends.json_values import loads
from backends.lazy_import import import_once

if TYPE_CHECKING:
    import httpx2
    from google.genai import types

    from google import genai


class SdkClients:
    """The SDK's clients, one for each event loop; none of them holds a key."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, genai.Client] = (
            WeakKeyDictionary()
        )

    async def get(self, pool: "httpx2.AsyncClient") -> "genai.Client":
        """Return the running loop's client, on `pool`; the first call imports the SDK.

        Raises:
            MissingPackage: the SDK is not installed.
        """
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            try:
                # A new client reads the certificates twice, 50 ms: not on the loop.
                created = await asyncio.to_thread(_new_client, pool)
            except ImportError as error:
                raise MissingPackage(
                    "Google's package is missing: pip install google-genai."
                ) from error
            client = self._clients.setdefault(loop, created)
            if client is created:
                _restore_timeouts(pool)
        return client

    def discard(self) -> None:
        """Drop the running loop's client, before its pool is closed."""
        self._clients.pop(asyncio.get_running_loop(), None)


async def send(
    client: "genai.Client",
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
        started = time.perf_counter()
        body = await _generate_content(client, credentials, api_request, seed)
        seconds = time.perf_counter() - started
        result = await asyncio.to_thread(parse_response, body, seed, credentials.service)
        return replace(result, generate=seconds)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, credentials, model) from safe_cause(error, credentials)


async def _generate_content(
    client: "genai.Client", credentials: Credentials, api_request: ApiRequest, seed: int | None
) -> str:
    """Make one API call and return the body of its response.

    Raises:
        genai.errors.APIError: the service rejected the call.
        httpx2.RequestError: a failure below HTTP.
    """
    from google.genai import types

    level = api_request.thinking_level
    thinking = types.ThinkingLevel(level.upper()) if level else None
    answer = await client.aio.models.generate_content(
        model=api_request.model,
        contents=_contents(api_request),
        config=types.GenerateContentConfig(
            http_options=http_options(credentials),
            should_return_http_response=True,
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(
                aspect_ratio=api_request.aspect_ratio, image_size=api_request.image_size
            ),
            thinking_config=types.ThinkingConfig(thinking_level=thinking) if thinking else None,
            seed=seed,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,  # each further request would be billed
        ),
    )
    response = answer.sdk_http_response
    return (response and response.body) or ""


async def check_key(pool: "httpx2.AsyncClient", credentials: Credentials) -> None:
    """List one model, which costs nothing.

    The SDK would build an object of each model that comes, on the event loop.

    Raises:
        genai.errors.APIError: the service does not accept the key.
        httpx2.RequestError: a failure below HTTP.
    """
    from google.genai import errors

    options = http_options(credentials)
    response = await pool.get(
        f"{options.base_url}/{options.api_version}/models",
        params={"pageSize": 1},
        headers=options.headers,
    )
    await errors.APIError.raise_for_async_response(response)
    await asyncio.to_thread(loads, response.content)


def http_options(credentials: Credentials) -> "types.HttpOptions":
    """Return address, API version and key as the SDK takes them with each call."""
    from google.genai import types

    return types.HttpOptions(
        base_url=credentials.base_url,
        api_version=credentials.version,
        headers={"x-goog-api-key": credentials.key or "none"},
    )


def _contents(api_request: ApiRequest) -> "types.ContentListUnion":
    """Return the prompt, preceded by the init image if there is one."""
    from google.genai import types

    if api_request.image is None:
        return api_request.prompt
    data, media_type = api_request.image
    return [types.Part.from_bytes(data=data, mime_type=media_type), api_request.prompt]


def _new_client(pool: "httpx2.AsyncClient") -> "genai.Client":
    genai = import_once("google.genai")
    types = genai.types
    # Key and address are given with each call. Without these arguments the SDK would read them,
    # and whether to use the cloud platform instead, from the environment.
    return genai.Client(
        api_key="none",
        vertexai=False,
        http_options=types.HttpOptions(
            base_url="http://localhost",
            httpx_async_client=pool,
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )


def _restore_timeouts(pool: "httpx2.AsyncClient") -> None:
    """Give each request the pool's own timeouts, since the SDK sends it with none."""

    async def restore(request: "httpx2.Request") -> None:
        request.extensions["timeout"] = pool.timeout.as_dict()

    hooks = pool.event_hooks
    pool.event_hooks = {**hooks, "request": [*hooks["request"], restore]}
