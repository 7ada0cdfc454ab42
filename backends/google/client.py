"""One call to Google's image models through the company's own package: a prompt leaves, JSON comes.

The package is told to do nothing by itself: no second try, no continuation, no function calling.
It hands the answer over as text, because reading megabytes of base64 into its own types would
take the event loop a while; `google_answers` reads it in a thread.
"""

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from backends.google.credentials import Credentials
from backends.google.request import ApiRequest
from backends.lazy_import import import_once

if TYPE_CHECKING:
    import httpx2
    from google.genai import types

    from google import genai


class Client:
    """The package's clients, one for each event loop; none of them holds a key."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, genai.Client] = (
            WeakKeyDictionary()
        )

    async def prepare(self, pool: "httpx2.AsyncClient") -> "genai.Client":
        """Return the running loop's client, on `pool`; the first call imports the package."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            # A new client reads the certificates twice, 50 ms: not on the loop.
            made = await asyncio.to_thread(_new_client, pool)
            client = self._clients.setdefault(loop, made)
            if client is made:
                _keep_patience(pool)
        return client

    def close(self) -> None:
        """Let go of the running loop's client: its pool is about to be closed."""
        self._clients.pop(asyncio.get_running_loop(), None)


async def send(
    client: "genai.Client", account: Credentials, call: ApiRequest, seed: int | None
) -> str:
    """Ask for one picture and return the answer as it came.

    Raises:
        genai.errors.APIError: the service said no.
        httpx2.RequestError: a failure below HTTP.
    """
    from google.genai import types

    level = types.ThinkingLevel(call.thinking_level.upper()) if call.thinking_level else None
    answer = await client.aio.models.generate_content(
        model=call.model,
        contents=_contents(call),
        config=types.GenerateContentConfig(
            http_options=_address(account),
            should_return_http_response=True,
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(
                aspect_ratio=call.aspect_ratio, image_size=call.image_size
            ),
            thinking_config=types.ThinkingConfig(thinking_level=level) if level else None,
            seed=seed,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,  # each further request would be billed
        ),
    )
    response = answer.sdk_http_response
    return (response and response.body) or ""


def _contents(call: ApiRequest) -> "types.ContentListUnion":
    """The prompt, and before it the picture to start from."""
    from google.genai import types

    if call.image is None:
        return call.prompt
    data, media_type = call.image
    return [types.Part.from_bytes(data=data, mime_type=media_type), call.prompt]


async def check_key(client: "genai.Client", account: Credentials) -> None:
    """Ask for the name of one model, which costs nothing; raises as `ask` does."""
    from google.genai import types

    await client.aio.models.list(
        config=types.ListModelsConfig(page_size=1, http_options=_address(account))
    )


def _address(account: Credentials) -> "types.HttpOptions":
    from google.genai import types

    return types.HttpOptions(
        base_url=account.base_url,
        api_version=account.version,
        headers={"x-goog-api-key": account.key or "none"},
    )


def _new_client(pool: "httpx2.AsyncClient") -> "genai.Client":
    genai = import_once("google.genai")
    types = genai.types
    # Key and address are said for each request. Left unsaid here, the package would take them,
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


def _keep_patience(pool: "httpx2.AsyncClient") -> None:
    """Give each request the pool's own timeouts: the package sends it with none."""

    async def restore(request: "httpx2.Request") -> None:
        request.extensions["timeout"] = pool.timeout.as_dict()

    hooks = pool.event_hooks
    pool.event_hooks = {**hooks, "request": [*hooks["request"], restore]}
