"""Call OpenAI's image API: one request is sent, previews and a response come back."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from backends.base import Progress
from backends.http.sse import ServerEvent, server_events
from backends.images.base64_json import first_picture
from backends.images.previews import Previews
from backends.json_values import loads, mapping, objects
from backends.lazy_import import import_once
from backends.openai.credentials import Credentials
from backends.openai.errors import REFUSALS
from backends.openai.request import ApiRequest
from backends.openai.response import ApiResponse, parse_response

if TYPE_CHECKING:
    import httpx2

    import openai


class SdkClients:
    """The SDK's clients, one for each connection pool and server; none of them holds a key."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[httpx2.AsyncClient, dict[str, openai.AsyncOpenAI]] = (
            WeakKeyDictionary()
        )

    async def get(
        self, pool: "httpx2.AsyncClient", credentials: Credentials
    ) -> "openai.AsyncOpenAI":
        """Return the client for `pool`; the first call imports the SDK in a thread."""
        clients = self._clients.setdefault(pool, {})
        if credentials.base_url not in clients:
            openai = await asyncio.to_thread(import_once, "openai")
            clients[credentials.base_url] = openai.AsyncOpenAI(
                api_key="none",
                base_url=credentials.base_url,
                http_client=pool,
                max_retries=0,
                timeout=pool.timeout,
            )
        return clients[credentials.base_url]


def headers(credentials: Credentials) -> dict[str, Any]:
    """Return the authentication headers; without them the SDK takes those of the environment."""
    from openai import Omit

    return {
        **(authorization(credentials) or {"Authorization": "Bearer none"}),
        "OpenAI-Organization": credentials.organisation or Omit(),
        "OpenAI-Project": credentials.project or Omit(),
    }


def authorization(credentials: Credentials) -> dict[str, str]:
    """Return the header with the key, empty if there is none."""
    return {"Authorization": f"Bearer {credentials.key}"} if credentials.key else {}


async def list_models(client: "openai.AsyncOpenAI", credentials: Credentials) -> list[str]:
    """Return the names of the server's models, which costs nothing.

    Raises:
        openai.APIError: the server rejected the request, or failed.
        httpx2.RequestError: a failure below HTTP.
        ValueError: the response is not JSON.
    """
    # The SDK would build an object of each model on the event loop.
    models = client.models.with_streaming_response
    async with models.list(extra_headers=headers(credentials)) as response:
        body = await response.read()
    listed = mapping(await asyncio.to_thread(loads, body)).get("data")
    return [str(each["id"]) for each in objects(listed) if "id" in each]


async def send(
    client: "openai.AsyncOpenAI",
    credentials: Credentials,
    api_request: ApiRequest,
    previews: Previews,
) -> AsyncGenerator[Progress | ApiResponse, None]:
    """Send a request, as a stream if it requests partial pictures; yield previews and the response.

    If the server rejects a stream as unknown, the request is sent once more without.

    Raises:
        openai.APIError: the service rejected the request, or failed.
        httpx2.RequestError: a failure below HTTP.
        ValueError: the response is not JSON.
        ServiceFault: there is no picture in it, or a damaged one.
    """
    import openai

    parameters = {**api_request.parameters, "extra_headers": headers(credentials)}
    if api_request.image is not None:
        parameters["image"] = api_request.image
    if api_request.partials:
        streaming = {"stream": True, "partial_images": api_request.partials}
        try:
            async with aclosing(_exchange(client, {**parameters, **streaming}, previews)) as parts:
                async for part in parts:
                    yield part
            return
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not _rejects_streams(error):
                raise
    async with aclosing(_exchange(client, parameters, previews)) as parts:
        async for part in parts:
            yield part


async def _exchange(
    client: "openai.AsyncOpenAI", parameters: Mapping[str, Any], previews: Previews
) -> AsyncGenerator[Progress | ApiResponse, None]:
    started = time.perf_counter()
    # The body is parsed here and not by the SDK: a server may respond to a request for a stream
    # with plain JSON, and the SDK's parser takes 20 ms for an event of a picture's size.
    images = client.images.with_streaming_response
    method = images.edit if "image" in parameters else images.generate
    async with method(**parameters) as response:
        answered = time.perf_counter()
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            request = response.http_request
            async with aclosing(server_events(response.iter_bytes())) as events:
                async for event in events:
                    part = await _parse_event(event, request, previews)
                    if isinstance(part, ApiResponse):
                        yield replace(part, generate=time.perf_counter() - started)
                        return  # without waiting for the end of the stream
                    if part is not None:
                        yield part
            return
        chunks = [chunk async for chunk in response.iter_bytes()]
    download = time.perf_counter() - answered
    parsed = await asyncio.to_thread(lambda: parse_response(b"".join(chunks)))
    yield replace(parsed, generate=answered - started, download=download)


async def _parse_event(
    event: ServerEvent, request: "httpx2.Request", previews: Previews
) -> Progress | ApiResponse | None:
    """Return a preview or the response that completes the stream, None for any other event."""
    import openai

    match event.name or await asyncio.to_thread(_event_type, event.data):
        case "image_generation.partial_image" | "image_edit.partial_image":
            preview = await previews.make(first_picture, event.data)
            return Progress(preview=preview) if preview else None
        case "image_generation.completed" | "image_edit.completed":
            return await asyncio.to_thread(parse_response, event.data)
        case "error":
            body = mapping(loads(event.data))
            body = mapping(body.get("error")) or body
            raise openai.APIError(str(body.get("message") or ""), request, body=body)
        case _:
            return None


def _event_type(data: bytes) -> str:
    return str(mapping(loads(data)).get("type") or "") if data.startswith(b"{") else ""


def _rejects_streams(error: "openai.APIStatusError") -> bool:
    """Return whether the server does not know the parameters of a stream."""
    if error.code in REFUSALS:  # a refusal quotes the prompt, which may hold the word "stream"
        return False
    text = f"{error.param} {error.message}"
    return re.search(r"\b(stream|streaming|partial_images)\b", text) is not None
