"""One exchange with OpenAI's image API: the call leaves, looks and an answer come back."""

import asyncio
import json
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
from backends.json_values import mapping
from backends.lazy_import import import_once
from backends.openai.credentials import Credentials
from backends.openai.errors import REFUSALS
from backends.openai.request import ApiRequest
from backends.openai.response import ApiResponse, parse_response

if TYPE_CHECKING:
    import httpx2

    import openai


class Client:
    """The package's clients, one for each pool of connections and server; none holds a key."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews
        self._clients: WeakKeyDictionary[httpx2.AsyncClient, dict[str, openai.AsyncOpenAI]] = (
            WeakKeyDictionary()
        )

    async def prepare(
        self, pool: "httpx2.AsyncClient", credentials: Credentials
    ) -> "openai.AsyncOpenAI":
        """Return the client for `pool`; the first call imports the package, off the loop."""
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

    async def exchange(
        self, client: "openai.AsyncOpenAI", credentials: Credentials, api_request: ApiRequest
    ) -> AsyncGenerator[Progress | ApiResponse, None]:
        """Send `call`; where the server rejects a stream as unknown, send it once without."""
        import openai

        parameters = {**api_request.parameters, "extra_headers": headers(credentials)}
        if api_request.image is not None:
            parameters["image"] = api_request.image
        if api_request.partials:
            streaming = {"stream": True, "partial_images": api_request.partials}
            try:
                async with aclosing(self._send(client, {**parameters, **streaming})) as parts:
                    async for part in parts:
                        yield part
                return
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not _knows_no_streams(error):
                    raise
        async with aclosing(self._send(client, parameters)) as parts:
            async for part in parts:
                yield part

    async def _send(
        self, client: "openai.AsyncOpenAI", parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Progress | ApiResponse, None]:
        started = time.perf_counter()
        # The body is read here and not by the package: a server may answer a call for a stream
        # with plain JSON, and the package's reader takes 20 ms for an event of a picture's size.
        images = client.images.with_streaming_response
        ask = images.edit if "image" in parameters else images.generate
        async with ask(**parameters) as response:
            answered = time.perf_counter()
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                request = response.http_request
                async with aclosing(server_events(response.iter_bytes())) as events:
                    async for event in events:
                        part = await self._part(event, request)
                        if isinstance(part, ApiResponse):
                            yield replace(part, generate=time.perf_counter() - started)
                            return  # whatever follows is not waited for
                        if part is not None:
                            yield part
                return
            chunks = [chunk async for chunk in response.iter_bytes()]
        download = time.perf_counter() - answered
        answer = await asyncio.to_thread(lambda: parse_response(b"".join(chunks)))
        yield replace(answer, generate=answered - started, download=download)

    async def _part(
        self, event: ServerEvent, request: "httpx2.Request"
    ) -> Progress | ApiResponse | None:
        import openai

        match event.name or _type(event.data):
            case "image_generation.partial_image" | "image_edit.partial_image":
                preview = await self._previews.make(first_picture, event.data)
                return Progress(preview=preview) if preview else None
            case "image_generation.completed" | "image_edit.completed":
                return await asyncio.to_thread(parse_response, event.data)
            case "error":
                said = mapping(json.loads(event.data))
                said = mapping(said.get("error")) or said
                message = str(said.get("message") or "")
                raise openai.APIError(message, request, body=said)
            case _:
                return None


def headers(credentials: Credentials) -> dict[str, Any]:
    """Return who asks, said outright for each request: the package would take the environment's."""
    from openai import Omit

    return {
        "Authorization": f"Bearer {credentials.key or 'none'}",
        "OpenAI-Organization": credentials.organisation or Omit(),
        "OpenAI-Project": credentials.project or Omit(),
    }


def _type(data: bytes) -> str:
    return str(mapping(json.loads(data)).get("type") or "") if data.startswith(b"{") else ""


def _knows_no_streams(error: "openai.APIStatusError") -> bool:
    if error.code in REFUSALS:  # those quote the prompt, in which streams may flow
        return False
    return (
        re.search(r"\b(stream|streaming|partial_images)\b", f"{error.param} {error.message}")
        is not None
    )
