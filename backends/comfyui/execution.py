"""Run one prompt on a ComfyUI server, from posting it to fetching its pictures."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from backends.base import Event, Picture
from backends.comfyui.client import Client
from backends.comfyui.errors import no_picture, rejected_nodes, rejection
from backends.comfyui.monitor import Monitor
from backends.comfyui.placeholders import RESULT
from backends.comfyui.progress import PromptProgress
from backends.comfyui.workflow import WEBSOCKET_OUTPUT_NODE, Graph, Workflow
from backends.errors import BackendError, ServiceFault
from backends.images.validation import check, check_count
from backends.json_values import items

SavedImages: TypeAlias = dict[str, list[dict[str, str] | None]]
"""Where the server saved its pictures (filename, subfolder, type), by the id of the node.

None stands for one of which it does not say where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The timing of a finished prompt in seconds, None where the server does not say.

    `generate` and `load` are by the server's clock, `cached` says that it drew nothing anew.
    `failures` are the reasons why some of its pictures are missing, `left_out` the errors of nodes
    that the server has left out.
    """

    cached: bool
    load: float | None
    generate: float | None
    download: float
    failures: tuple[BackendError, ...]
    left_out: str


async def execute(
    client: Client,
    monitor: Monitor,
    workflow: Workflow,
    graph: Graph,
    seed: int | None,
    client_id: str,
) -> AsyncGenerator[Event | Result, None]:
    """Post `graph` once, follow its progress, yield its pictures and at last the `Result`.

    Closing the generator cancels the prompt. A prompt whose server cannot be reached is left to it.

    Raises:
        BackendError: the prompt failed on the server, or none of its pictures came.
        httpx2.HTTPError, ValueError: the server did not accept it.
    """
    import httpx2

    id = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
    results = workflow.tagged_nodes.get(RESULT, ())
    progress = PromptProgress(id, graph, client.server.name, results)
    try:
        body = _prompt_body(graph, progress, client_id)
        answer = await client.post_once_reached("/prompt", body)
        if (refused := rejection(answer, client.server)) is not None:
            progress.is_done = True
            raise refused
        progress.id, progress.is_accepted = str(answer["prompt_id"]), True
        left_out = rejected_nodes(answer)
        async with aclosing(monitor.follow(progress)) as events:
            async for event in events:
                yield event
    except httpx2.HTTPStatusError as error:
        # A refused prompt is not on the server: there is nothing to cancel.
        progress.is_done = error.response.is_client_error
        raise
    finally:
        if not progress.is_done and not progress.is_abandoned:
            await monitor.cancel(progress)
    images = await _wait_for_images(monitor, progress, workflow)
    check_count(sum(map(len, images.values())))
    if not images and not progress.received_pictures:
        raise no_picture(workflow.name, left_out, lost=_was_lost(monitor, progress))
    failures: list[BackendError] = []
    async with aclosing(_fetch_pictures(client, progress, images, seed, failures)) as pictures:
        async for picture in pictures:
            yield picture
    if len(failures) == sum(map(len, images.values())) + len(progress.received_pictures):
        raise failures[0]
    yield _build_result(progress, set(images), failures, left_out)


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
    images = _saved_images(progress, workflow)
    if (images or progress.received_pictures) and monitor.has_all_messages:
        return images
    try:
        await monitor.read_history(progress)
    except BackendError:
        if not images and not progress.received_pictures:
            raise
    return _saved_images(progress, workflow)


def _was_lost(monitor: Monitor, progress: PromptProgress) -> bool:
    """Return True if pictures were sent over the websocket while it was closed."""
    classes = {node["class_type"] for node in progress.graph.values()}
    return WEBSOCKET_OUTPUT_NODE in classes and not monitor.has_all_messages


async def _fetch_pictures(
    client: Client,
    progress: PromptProgress,
    images: SavedImages,
    seed: int | None,
    failures: list[BackendError],
) -> AsyncGenerator[Picture, None]:
    """Yield each picture as soon as it is fetched; add to `failures` why one is missing.

    The pictures of one node are a batch: only its first is reproducible from the seed alone.
    """
    for batch in images.values():
        for index, image in enumerate(batch):
            started_at = time.monotonic()
            try:
                if image is None:
                    raise ServiceFault(
                        "The server saved a picture and does not say where. Look at it."
                    )
                data = await client.download_picture(image)
                picture = await asyncio.to_thread(check, data, seed=None if index else seed)
            except BackendError as error:
                failures.append(error)
                continue
            finally:
                progress.download_seconds += time.monotonic() - started_at
            yield picture
    for index, data in enumerate(progress.received_pictures):
        try:
            picture = await asyncio.to_thread(check, data, seed=None if index else seed)
        except BackendError as error:
            failures.append(error)
            continue
        yield picture


def _build_result(
    progress: PromptProgress,
    output_nodes: set[str],
    failures: Sequence[BackendError],
    left_out: str,
) -> Result:
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
        failures=tuple(failures),
        left_out=left_out,
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


def _image_location(image: object) -> dict[str, str] | None:
    match image:
        case {"filename": str(name), **rest} if name:
            where = {key: str(rest.get(key) or "") for key in ("subfolder", "type")}
            return {"filename": name, **where}
        case _:
            return None
