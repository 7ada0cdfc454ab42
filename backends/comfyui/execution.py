"""One prompt on a ComfyUI server, from its posting to its pictures."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from backends.base import Event, Picture
from backends.comfyui import errors as words
from backends.comfyui.client import Client
from backends.comfyui.monitor import LOOKS, PAUSE, Monitor
from backends.comfyui.progress import WEBSOCKET_OUTPUT_NODE, PromptProgress
from backends.comfyui.workflow import Graph, Workflow
from backends.errors import ServiceFault
from backends.images.validation import check


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of one prompt: its seconds by the server's clock, where they are known."""

    cached: bool
    load: float | None
    generate: float | None
    download: float


async def execute(
    wire: Client, watch: Monitor, workflow: Workflow, graph: Graph, seed: int | None, client: str
) -> AsyncGenerator[Event | Result, None]:
    """Post `graph` once, look after it while it is drawn, yield what came of it last.

    Raises:
        BackendError: it has failed on the server, or has no pictures.
        httpx2.HTTPError, ValueError: it was not taken.
    """
    import httpx2

    story = PromptProgress(
        str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)), graph, wire.server.name
    )
    try:
        answer = await wire.post("/prompt", _body(graph, story, client))
        story.id, story.accepted = str(answer["prompt_id"]), True
        async with aclosing(watch.follow(story)) as events:
            async for event in events:
                yield event
    except httpx2.HTTPStatusError as error:
        story.done = error.response.is_client_error  # it was not taken, and is nowhere
        raise
    finally:
        if not story.done:
            await watch.cancel(story)
    found = await _complete(watch, story, workflow)
    if not found and not story.sent:
        raise words.unsaved(workflow.name)
    async with aclosing(_pictures(wire, story, found, seed)) as pictures:
        async for picture in pictures:
            yield picture
    yield _drawn(story, set(found))


def _body(graph: Graph, story: PromptProgress, client: str) -> dict[str, Any]:
    return {
        "prompt": graph,
        "client_id": client,
        "prompt_id": story.id,
        # Most servers are started without previews, and make them for whoever asks.
        "extra_data": {"preview_method": "auto"},
    }


async def _complete(
    watch: Monitor, story: PromptProgress, workflow: Workflow
) -> dict[str, list[dict[str, str]]]:
    """The saved pictures, looked up where not all may have been heard of."""
    for _ in range(LOOKS):
        found = _found(story, workflow)
        if (found or story.sent) and watch.heard_all:
            return found
        if await watch.finish(story):
            break
        await asyncio.sleep(PAUSE)
    return _found(story, workflow)


async def _pictures(
    wire: Client, story: PromptProgress, found: dict[str, list[dict[str, str]]], seed: int | None
) -> AsyncGenerator[Picture, None]:
    """Yield each picture as it is fetched.

    The pictures of one node are a batch, and only its first is drawn by the seed alone.
    """
    for images in found.values():
        for number, image in enumerate(images):
            began = time.monotonic()
            data = await wire.picture(image)
            story.download += time.monotonic() - began
            yield await asyncio.to_thread(check, data, seed=None if number else seed)
    for number, data in enumerate(story.sent):
        yield await asyncio.to_thread(check, data, seed=None if number else seed)


def _drawn(story: PromptProgress, results: set[str]) -> Result:
    seconds, load = story.seconds, story.load
    if story.sent:
        results |= {
            node for node, it in story.graph.items() if it["class_type"] == WEBSOCKET_OUTPUT_NODE
        }
    return Result(
        cached=story.cached(results),
        load=load,
        generate=None if seconds is None else max(0.0, seconds - (load or 0.0)),
        download=story.download,
    )


def _found(story: PromptProgress, workflow: Workflow) -> dict[str, list[dict[str, str]]]:
    """The saved pictures by node, in the order of the workflow.

    Where the workflow marks whose pictures are the results, only those count; else all that were
    saved, and none that were only shown.
    """
    marked = workflow.marked.get("picture", ())
    found: dict[str, list[dict[str, str]]] = {}
    for node in story.graph:
        if marked and node not in marked:
            continue
        images = cast(object, story.outputs.get(node, {}).get("images"))
        for image in cast(list[object], images) if isinstance(images, list) else ():
            if marked or _is_saved(image):
                found.setdefault(node, []).append(_image(image))
    return found


def _is_saved(image: object) -> bool:
    match image:
        case {"type": str(kind)}:
            return kind == "output"
        case _:
            return True


def _image(image: object) -> dict[str, str]:
    match image:
        case {"filename": str(name), **rest} if name:
            where = {key: str(rest.get(key) or "") for key in ("subfolder", "type")}
            return {"filename": name, **where}
        case _:
            raise ServiceFault("The server saved a picture and does not say where. Look at it.")
