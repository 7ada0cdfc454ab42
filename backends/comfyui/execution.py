"""Run one prompt on a ComfyUI server, from posting it to fetching its pictures."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from backends.base import Event, Picture
from backends.comfyui.client import Client
from backends.comfyui.errors import no_picture
from backends.comfyui.monitor import CHECK_PAUSE, MAX_CHECKS, Monitor
from backends.comfyui.placeholders import RESULT
from backends.comfyui.progress import WEBSOCKET_OUTPUT_NODE, PromptProgress
from backends.comfyui.workflow import Graph, Workflow
from backends.errors import ServiceFault
from backends.images.validation import check, check_count
from backends.json_values import items

SavedImages: TypeAlias = dict[str, list[dict[str, str]]]
"""Where the server saved its pictures (filename, subfolder, type), by the id of the node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The timing of a finished prompt in seconds, None where the server does not say.

    `generate` and `load` are by the server's clock, `cached` says that it drew nothing anew.
    """

    cached: bool
    load: float | None
    generate: float | None
    download: float


async def execute(
    client: Client,
    monitor: Monitor,
    workflow: Workflow,
    graph: Graph,
    seed: int | None,
    client_id: str,
) -> AsyncGenerator[Event | Result, None]:
    """Post `graph` once, follow its progress, yield its pictures and at last the `Result`.

    Closing the generator cancels the prompt.

    Raises:
        BackendError: the prompt failed on the server, or has no pictures.
        httpx2.HTTPError, ValueError: the server did not accept it.
    """
    import httpx2

    progress = PromptProgress(
        str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)), graph, client.server.name
    )
    try:
        answer = await client.post_json("/prompt", _prompt_body(graph, progress, client_id))
        progress.id, progress.is_accepted = str(answer["prompt_id"]), True
        async with aclosing(monitor.follow(progress)) as events:
            async for event in events:
                yield event
    except httpx2.HTTPStatusError as error:
        # A refused prompt is not on the server: there is nothing to cancel.
        progress.is_done = error.response.is_client_error
        raise
    finally:
        if not progress.is_done:
            await monitor.cancel(progress)
    images = await _wait_for_images(monitor, progress, workflow)
    check_count(sum(map(len, images.values())))
    if not images and not progress.received_pictures:
        raise no_picture(workflow.name)
    async with aclosing(_fetch_pictures(client, progress, images, seed)) as pictures:
        async for picture in pictures:
            yield picture
    yield _build_result(progress, set(images))


def _prompt_body(graph: Graph, progress: PromptProgress, client_id: str) -> dict[str, Any]:
    return {
        "prompt": graph,
        "client_id": client_id,
        "prompt_id": progress.id,
        # Most servers run with previews off, and make them for a prompt that asks for them.
        "extra_data": {"preview_method": "auto"},
    }


async def _wait_for_images(
    monitor: Monitor, progress: PromptProgress, workflow: Workflow
) -> SavedImages:
    """Return the saved pictures, from the history where messages may have been missed."""
    for _ in range(MAX_CHECKS):
        images = _saved_images(progress, workflow)
        if (images or progress.received_pictures) and monitor.has_all_messages:
            return images
        if await monitor.read_history(progress):
            break
        await asyncio.sleep(CHECK_PAUSE)
    return _saved_images(progress, workflow)


async def _fetch_pictures(
    client: Client, progress: PromptProgress, images: SavedImages, seed: int | None
) -> AsyncGenerator[Picture, None]:
    """Yield each picture as soon as it is fetched.

    The pictures of one node are a batch: only its first is reproducible from the seed alone.
    """
    for batch in images.values():
        for index, image in enumerate(batch):
            started_at = time.monotonic()
            data = await client.download_picture(image)
            progress.download_seconds += time.monotonic() - started_at
            yield await asyncio.to_thread(check, data, seed=None if index else seed)
    for index, data in enumerate(progress.received_pictures):
        yield await asyncio.to_thread(check, data, seed=None if index else seed)


def _build_result(progress: PromptProgress, output_nodes: set[str]) -> Result:
    seconds, load = progress.execution_seconds, progress.load_seconds
    if progress.received_pictures:
        output_nodes |= {
            id for id, node in progress.graph.items() if node["class_type"] == WEBSOCKET_OUTPUT_NODE
        }
    return Result(
        cached=progress.was_cached(output_nodes),
        load=load,
        generate=None if seconds is None else max(0.0, seconds - (load or 0.0)),
        download=progress.download_seconds,
    )


def _saved_images(progress: PromptProgress, workflow: Workflow) -> SavedImages:
    """Return the saved pictures by node, in the order of the workflow.

    If the workflow tags result nodes, only their pictures count, saved or temporary; otherwise all
    that were saved, and no temporary ones.
    """
    tagged = workflow.tagged_nodes.get(RESULT, ())
    found: SavedImages = {}
    for node in progress.graph:
        if tagged and node not in tagged:
            continue
        for image in items(progress.outputs.get(node, {}).get("images")):
            if tagged or _is_saved(image):
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
