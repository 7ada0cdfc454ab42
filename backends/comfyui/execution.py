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
from backends.comfyui.monitor import CHECK_PAUSE, MAX_CHECKS, Monitor
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
        answer = await wire.post_json("/prompt", _prompt_body(graph, story, client))
        story.id, story.is_accepted = str(answer["prompt_id"]), True
        async with aclosing(watch.follow(story)) as events:
            async for event in events:
                yield event
    except httpx2.HTTPStatusError as error:
        story.is_done = error.response.is_client_error  # it was not taken, and is nowhere
        raise
    finally:
        if not story.is_done:
            await watch.cancel(story)
    found = await _wait_for_images(watch, story, workflow)
    if not found and not story.received_pictures:
        raise words.no_picture(workflow.name)
    async with aclosing(_fetch_pictures(wire, story, found, seed)) as pictures:
        async for picture in pictures:
            yield picture
    yield _build_result(story, set(found))


def _prompt_body(graph: Graph, story: PromptProgress, client: str) -> dict[str, Any]:
    return {
        "prompt": graph,
        "client_id": client,
        "prompt_id": story.id,
        # Most servers are started without previews, and make them for whoever asks.
        "extra_data": {"preview_method": "auto"},
    }


async def _wait_for_images(
    watch: Monitor, story: PromptProgress, workflow: Workflow
) -> dict[str, list[dict[str, str]]]:
    """The saved pictures, looked up where not all may have been heard of."""
    for _ in range(MAX_CHECKS):
        found = _saved_images(story, workflow)
        if (found or story.received_pictures) and watch.has_all_messages:
            return found
        if await watch.read_history(story):
            break
        await asyncio.sleep(CHECK_PAUSE)
    return _saved_images(story, workflow)


async def _fetch_pictures(
    wire: Client, story: PromptProgress, found: dict[str, list[dict[str, str]]], seed: int | None
) -> AsyncGenerator[Picture, None]:
    """Yield each picture as it is fetched.

    The pictures of one node are a batch, and only its first is drawn by the seed alone.
    """
    for images in found.values():
        for number, image in enumerate(images):
            began = time.monotonic()
            data = await wire.download_picture(image)
            story.download_seconds += time.monotonic() - began
            yield await asyncio.to_thread(check, data, seed=None if number else seed)
    for number, data in enumerate(story.received_pictures):
        yield await asyncio.to_thread(check, data, seed=None if number else seed)


def _build_result(story: PromptProgress, results: set[str]) -> Result:
    seconds, load = story.execution_seconds, story.load_seconds
    if story.received_pictures:
        results |= {
            node for node, it in story.graph.items() if it["class_type"] == WEBSOCKET_OUTPUT_NODE
        }
    return Result(
        cached=story.was_cached(results),
        load=load,
        generate=None if seconds is None else max(0.0, seconds - (load or 0.0)),
        download=story.download_seconds,
    )


def _saved_images(story: PromptProgress, workflow: Workflow) -> dict[str, list[dict[str, str]]]:
    """The saved pictures by node, in the order of the workflow.

    Where the workflow marks whose pictures are the results, only those count; else all that were
    saved, and none that were only shown.
    """
    marked = workflow.tagged_nodes.get("picture", ())
    found: dict[str, list[dict[str, str]]] = {}
    for node in story.graph:
        if marked and node not in marked:
            continue
        images = cast(object, story.outputs.get(node, {}).get("images"))
        for image in cast(list[object], images) if isinstance(images, list) else ():
            if marked or _is_saved(image):
                found.setdefault(node, []).append(_image_location(image))
    return found


def _is_saved(image: object) -> bool:
    match image:
        case {"type": str(kind)}:
            return kind == "output"
        case _:
            return True


def _image_location(image: object) -> dict[str, str]:
    match image:
        case {"filename": str(name), **rest} if name:
            where = {key: str(rest.get(key) or "") for key in ("subfolder", "type")}
            return {"filename": name, **where}
        case _:
            raise ServiceFault("The server saved a picture and does not say where. Look at it.")
