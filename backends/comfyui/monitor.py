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
from backends.comfyui.websocket import Image, Message, WebSocket
from backends.http.client import Timeouts
from backends.http.self_hosted import unanswered
from backends.images.previews import Previews

SILENCE_SECONDS = 5.0
"""Seconds without a word after which the server is looked at."""
UNREACHABLE_SECONDS = 30.0
"""Seconds after which a server that cannot be reached is given up."""
CANCEL_SECONDS = 5.0
"""Seconds that taking a prompt back may take."""
MAX_CHECKS = 3
"""How often a prompt is looked for that is about to appear, or seems to be gone."""
CHECK_PAUSE = 0.2


class Monitor:
    """Looks after the prompts of one job, which the server knows as `client`."""

    def __init__(
        self, wire: Client, socket: WebSocket, previews: Previews, client: str, patience: Timeouts
    ) -> None:
        self._client = wire
        self._socket = socket
        self._previews = previews
        self._client_id = client
        self._timeouts = patience
        self._last_activity = self._last_contact = time.monotonic()
        self._times_missing = 0

    async def follow(self, story: PromptProgress) -> AsyncGenerator[Event, None]:
        """Yield what happens until the prompt is done.

        Raises:
            BackendError: it has failed, or nobody knows what became of it.
        """
        self._last_activity = self._last_contact = time.monotonic()
        self._times_missing = 0
        while not story.is_done:
            event = await self._next_event(story)
            if event is not None:
                yield event
            waited = time.monotonic() - self._last_activity
            if not story.is_done and waited > self._timeouts.answer:
                raise unanswered(self._client.server, sent=True)

    @property
    def has_all_messages(self) -> bool:
        """Whether the socket has been open all the time."""
        return not self._socket.was_disconnected

    async def read_history(self, story: PromptProgress) -> bool:
        """Look up what a prompt that is done has put out; False where that is not known yet."""
        with contextlib.suppress(Exception):
            if (entry := await self._get_history(story)) is not None:
                story.handle_history(entry)
                return True
        return False

    async def cancel(self, story: PromptProgress) -> None:
        """Stop the prompt if it runs, take it out of the queue if it waits; never raises.

        A server too old to be told which prompt is to be stopped stops whatever runs: so nothing
        is said unless this one does.
        """
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CANCEL_SECONDS):
                for _ in range(MAX_CHECKS):
                    running, waiting = await self._get_queue()
                    if any(self._is_own(item, story) for item in running):
                        await self._client.post_json("/interrupt", {"prompt_id": story.id})
                        return
                    ours = [item for item in waiting if self._is_own(item, story)]
                    if ours:  # and once more, in case it begins at this moment
                        await self._client.post_json(
                            "/queue", {"delete": [item[1] for item in ours]}
                        )
                    elif story.is_accepted:
                        return
                    await asyncio.sleep(CHECK_PAUSE)

    async def _next_event(self, story: PromptProgress) -> Event | None:
        frame = await self._socket.receive(min(SILENCE_SECONDS, self._timeouts.answer))
        match frame:
            case None:
                return await self._poll(story)
            case Image(data) if story.is_sending_pictures:
                story.received_pictures.append(data)
            case Image(data):
                self._last_activity = time.monotonic()
                preview = await self._previews.make(_unchanged, data)
                return None if preview is None else Progress(preview=preview)
            case Message("status", _):
                return None if story.is_running else await self._poll(story, listening=True)
            case Message(kind, data):
                if data.get("prompt_id") == story.id:
                    self._last_activity = time.monotonic()
                return story.handle_message(kind, data)
        return None

    async def _poll(self, story: PromptProgress, *, listening: bool = False) -> Event | None:
        """See where the prompt is; a look that fails is made again later.

        As long as the socket speaks, it tells the end itself, after all that comes before it.
        """
        import httpx2

        try:
            event = await self._poll_once(story, listening=listening)
        except (httpx2.HTTPError, ValueError) as error:
            if time.monotonic() - self._last_contact > min(
                UNREACHABLE_SECONDS, self._timeouts.answer
            ):
                raise unanswered(self._client.server, sent=True) from error
            return None
        self._last_contact = time.monotonic()
        return event

    async def _poll_once(self, story: PromptProgress, *, listening: bool) -> Event | None:
        running, waiting = await self._get_queue()
        if any(self._is_own(item, story) for item in running):
            began, story.is_running = not story.is_running, True
            return Progress() if began else None
        for item in waiting:
            if self._is_own(item, story):
                self._last_activity = time.monotonic()
                ahead = len(running) + sum(other[0] < item[0] for other in waiting)
                return story.unless_repeated(Queued(message=_queue_message(ahead)))
        if listening:
            return None
        entry = await self._get_history(story)
        if entry is not None:
            story.handle_history(entry)
        else:
            self._times_missing += 1
            if self._times_missing > MAX_CHECKS:
                raise words.prompt_lost(self._client.server.name)
        return None

    async def _get_queue(self) -> tuple[list[list[Any]], list[list[Any]]]:
        answer = _mapping(await self._client.get("/queue"))
        return _items(answer.get("queue_running")), _items(answer.get("queue_pending"))

    async def _get_history(self, story: PromptProgress) -> Mapping[str, Any] | None:
        answer = _mapping(await self._client.get(f"/history/{story.id}"))
        entry = answer.get(story.id)
        return _mapping(entry) if entry else None

    def _is_own(self, item: list[Any], story: PromptProgress) -> bool:
        """Before its answer, an older server is only known to have called it something."""
        if item[1] == story.id:
            return True
        more = _mapping(item[3]) if len(item) > 3 else {}
        return not story.is_accepted and more.get("client_id") == self._client_id


def _queue_message(ahead: int) -> str:
    if ahead < 1:
        return "next on the server"
    return f"behind {ahead} other job{'s' if ahead > 1 else ''} on the server"


def _unchanged(body: bytes) -> bytes:
    return body


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _items(value: object) -> list[list[Any]]:
    listed = cast(list[Any], value) if isinstance(value, list) else []
    return [item for item in listed if isinstance(item, list) and len(cast(list[Any], item)) > 1]
