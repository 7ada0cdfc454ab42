"""How far a prompt on a ComfyUI server is, and how it is taken back.

The websocket tells what happens as it happens. Where it is silent, or gone, the queue and the
history are looked at, which know all that matters. Nothing is ever posted again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from backends.base import Event, Progress, Queued
from backends.comfyui import errors as words
from backends.comfyui.client import Client
from backends.comfyui.progress import PromptProgress
from backends.comfyui.websocket import Image, Message, Socket
from backends.http.client import Timeouts
from backends.http.self_hosted import unanswered
from backends.images.previews import Previews

SILENCE = 5.0
"""Seconds without a word after which the server is looked at."""
GONE = 30.0
"""Seconds after which a server that cannot be reached is given up."""
PATIENCE = 5.0
"""Seconds that taking a prompt back may take."""
LOOKS = 3
"""How often a prompt is looked for that is about to appear, or seems to be gone."""
PAUSE = 0.2


class Monitor:
    """Looks after the prompts of one job, which the server knows as `client`."""

    def __init__(
        self, wire: Client, socket: Socket, previews: Previews, client: str, patience: Timeouts
    ) -> None:
        self._wire = wire
        self._socket = socket
        self._previews = previews
        self._client = client
        self._patience = patience
        self._alive = self._reached = time.monotonic()
        self._missed = 0

    async def follow(self, story: PromptProgress) -> AsyncGenerator[Event, None]:
        """Yield what happens until the prompt is done.

        Raises:
            BackendError: it has failed, or nobody knows what became of it.
        """
        self._alive = self._reached = time.monotonic()
        self._missed = 0
        while not story.done:
            event = await self._hear(story)
            if event is not None:
                yield event
            waited = time.monotonic() - self._alive
            if not story.done and waited > self._patience.answer:
                raise unanswered(self._wire.server, sent=True)

    @property
    def heard_all(self) -> bool:
        """Whether the socket has been open all the time."""
        return not self._socket.broken

    async def finish(self, story: PromptProgress) -> bool:
        """Look up what a prompt that is done has put out; False where that is not known yet."""
        with contextlib.suppress(Exception):
            if (entry := await self._history(story)) is not None:
                story.read(entry)
                return True
        return False

    async def cancel(self, story: PromptProgress) -> None:
        """Stop the prompt if it runs, take it out of the queue if it waits; never raises.

        A server too old to be told which prompt is to be stopped stops whatever runs: so nothing
        is said unless this one does.
        """
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                for _ in range(LOOKS):
                    running, waiting = await self._queue()
                    if any(self._is_ours(item, story) for item in running):
                        await self._wire.post("/interrupt", {"prompt_id": story.id})
                        return
                    ours = [item for item in waiting if self._is_ours(item, story)]
                    if ours:  # and once more, in case it begins at this moment
                        await self._wire.post("/queue", {"delete": [item[1] for item in ours]})
                    elif story.accepted:
                        return
                    await asyncio.sleep(PAUSE)

    async def _hear(self, story: PromptProgress) -> Event | None:
        frame = await self._socket.next(min(SILENCE, self._patience.answer))
        match frame:
            case None:
                return await self._look(story)
            case Image(data) if story.sending:
                story.sent.append(data)
            case Image(data):
                self._alive = time.monotonic()
                preview = await self._previews.make(_itself, data)
                return None if preview is None else Progress(preview=preview)
            case Message("status", _):
                return None if story.running else await self._look(story, listening=True)
            case Message(kind, data):
                if data.get("prompt_id") == story.id:
                    self._alive = time.monotonic()
                return story.take(kind, data)
        return None

    async def _look(self, story: PromptProgress, *, listening: bool = False) -> Event | None:
        """See where the prompt is; a look that fails is made again later.

        As long as the socket speaks, it tells the end itself, after all that comes before it.
        """
        import httpx2

        try:
            event = await self._place(story, listening=listening)
        except (httpx2.HTTPError, ValueError) as error:
            if time.monotonic() - self._reached > min(GONE, self._patience.answer):
                raise unanswered(self._wire.server, sent=True) from error
            return None
        self._reached = time.monotonic()
        return event

    async def _place(self, story: PromptProgress, *, listening: bool) -> Event | None:
        running, waiting = await self._queue()
        if any(self._is_ours(item, story) for item in running):
            began, story.running = not story.running, True
            return Progress() if began else None
        for item in waiting:
            if self._is_ours(item, story):
                self._alive = time.monotonic()
                ahead = len(running) + sum(other[0] < item[0] for other in waiting)
                return story.news(Queued(message=_behind(ahead)))
        if listening:
            return None
        entry = await self._history(story)
        if entry is not None:
            story.read(entry)
        else:
            self._missed += 1
            if self._missed > LOOKS:
                raise words.lost(self._wire.server.name)
        return None

    async def _queue(self) -> tuple[list[list[Any]], list[list[Any]]]:
        answer = _mapping(await self._wire.get("/queue"))
        return _items(answer.get("queue_running")), _items(answer.get("queue_pending"))

    async def _history(self, story: PromptProgress) -> Mapping[str, Any] | None:
        answer = _mapping(await self._wire.get(f"/history/{story.id}"))
        entry = answer.get(story.id)
        return _mapping(entry) if entry else None

    def _is_ours(self, item: list[Any], story: PromptProgress) -> bool:
        """Before its answer, an older server is only known to have called it something."""
        if item[1] == story.id:
            return True
        more = _mapping(item[3]) if len(item) > 3 else {}
        return not story.accepted and more.get("client_id") == self._client


def _behind(ahead: int) -> str:
    if ahead < 1:
        return "next on the server"
    return f"behind {ahead} other job{'s' if ahead > 1 else ''} on the server"


def _itself(body: bytes) -> bytes:
    return body


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _items(value: object) -> list[list[Any]]:
    listed = cast(list[Any], value) if isinstance(value, list) else []
    return [item for item in listed if isinstance(item, list) and len(cast(list[Any], item)) > 1]
