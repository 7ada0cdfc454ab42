"""Call OpenAI's image API: one request is sent, previews and a response come back."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from backends.base import Progress
from backends.errors import ServiceFault
from backends.http.sse import ServerEvent, server_events
from backends.images.base64_json import first_picture
from backends.images.previews import Previews
from backends.json_values import loads, mapping, objects
from backends.lazy_import import import_once
from backends.openai.credentials import Credentials
from backends.openai.errors import is_refusal, is_unspecific
from backends.openai.request import ApiRequest
from backends.openai.response import ApiResponse, ErrorAnswer, merge, parse_event, parse_response

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
        """Return the client for `pool`; the first call imports the SDK in a thread.

        All of it that a picture needs, so that none of it is imported while one is drawn.
        """
        clients = self._clients.setdefault(pool, {})
        if credentials.base_url not in clients:
            openai = await asyncio.to_thread(import_once, "openai")
            await asyncio.to_thread(import_once, "openai.resources.images")
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
    refusers: set[str],
) -> AsyncGenerator[Progress | ApiResponse, None]:
    """Send a request, as a stream if it requests partial pictures; yield previews and the response.

    `refusers` are the addresses of servers that take no streams. A server that rejects a stream
    before it draws is added, and the request is sent once more without, which costs nothing. One
    that fails with it is added too, but may have drawn: it is not asked again for the same picture.

    Raises:
        openai.APIError: the service rejected the request, or failed.
        ErrorAnswer: the response holds an error instead of a picture.
        httpx2.RequestError: a failure below HTTP.
        ValueError: the response is not JSON.
        ServiceFault: there is no picture in it, or a damaged one.
    """
    import openai

    parameters = {**api_request.parameters, "extra_headers": headers(credentials)}
    if api_request.image is not None:
        parameters["image"] = api_request.image
    if api_request.partials and credentials.base_url not in refusers:
        streaming = {"stream": True, "partial_images": api_request.partials}
        try:
            async with aclosing(_exchange(client, {**parameters, **streaming}, previews)) as parts:
                async for part in parts:
                    yield part
            return
        except openai.APIStatusError as error:
            if error.status_code >= 500 and not credentials.official:
                refusers.add(credentials.base_url)
            if not _may_be_about_streams(error, official=credentials.official):
                raise
        async with aclosing(_exchange(client, parameters, previews)) as parts:
            async for part in parts:
                refusers.add(credentials.base_url)  # it was because of the stream
                yield part
        return
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
            async with aclosing(_read_stream(response.iter_bytes(), previews)) as parts:
                async for part in parts:
                    if isinstance(part, ApiResponse):
                        part = replace(part, generate=time.perf_counter() - started)
                    yield part
            return
        chunks = [chunk async for chunk in response.iter_bytes()]
    download = time.perf_counter() - answered
    parsed = await asyncio.to_thread(lambda: parse_response(b"".join(chunks)))
    yield replace(parsed, generate=answered - started, download=download)


async def _read_stream(
    chunks: AsyncIterator[bytes], previews: Previews
) -> AsyncGenerator[Progress | ApiResponse, None]:
    """Yield previews, and the response if there is one.

    The API's own last event ends the stream. Other servers name theirs as they like, or send one
    for each picture: their streams are read to the end, and what came before a failure is kept.
    """
    import httpx2

    found: list[ApiResponse] = []
    try:
        async with aclosing(server_events(chunks)) as events:
            async for event in events:
                part = await _parse_event(event, previews)
                if isinstance(part, ApiResponse):
                    found.append(part)
                    if event.name in _LAST_EVENTS and part.pictures:
                        break  # without waiting for the end of the stream
                elif part is not None:
                    yield part
    except (httpx2.RequestError, ErrorAnswer, ServiceFault, ValueError):
        if not any(each.pictures for each in found):
            raise
    response = merge(found)
    if response.pictures:
        yield response
    elif response.losses:
        raise response.losses[0]


async def _parse_event(event: ServerEvent, previews: Previews) -> Progress | ApiResponse | None:
    """Return a preview, or a response with the pictures of the event; None if it has neither."""
    if not event.data.lstrip().startswith((b"{", b"[")) or event.data.strip() == b"[DONE]":
        return None  # a word, or what ends a stream of chat completions
    try:
        response = await asyncio.to_thread(parse_event, event.name, event.data)
    except ValueError:
        if event.ended:
            raise
        return None  # cut off
    if response is not None:
        return response
    preview = await previews.make(first_picture, event.data)
    return Progress(preview=preview) if preview else None


_LAST_EVENTS: Final = frozenset({"image_generation.completed", "image_edit.completed"})


def _may_be_about_streams(error: "openai.APIStatusError", *, official: bool) -> bool:
    """Return whether a request was rejected because of the parameters of a stream.

    Servers that are nearly like OpenAI say so in any form, or not at all: with them every 4xx that
    names no other reason counts, as nothing is drawn then.
    """
    status, code = error.status_code, str(error.code or "")
    if not 400 <= status < 500 and status != 501:
        return False
    if is_refusal(code, error.message):  # it quotes the prompt, which may hold the word "stream"
        return False
    text = f"{error.param} {error.message} {error.body}"
    if re.search(r"\b(stream|streaming|partial_images|event-stream)\b", text):
        return True
    return not official and status in (400, 405, 406, 415, 422, 501) and is_unspecific(error)
