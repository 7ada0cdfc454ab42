"""Follow a prompt on a ComfyUI server, and cancel it.

The websocket reports what happens. While it is silent or closed, the server's queue and history
are polled, which hold all that matters. A prompt is never posted again.

A connection that is lost for some seconds loses nothing: the server goes on without it. Only where
there has been no sign of life for a time, of the websocket or of any other kind, it is given up,
and what it may be drawing is left to it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from backends.base import Event, Progress, Queued
from backends.comfyui.client import Client, is_connection_lost
from backends.comfyui.errors import connection_lost, prompt_lost
from backends.comfyui.progress import PromptProgress
from backends.comfyui.websocket import Image, Message, WebSocket
from backends.http.client import Timeouts
from backends.http.self_hosted import unanswered
from backends.images.previews import Previews
from backends.json_values import items, mapping, number

SILENCE_SECONDS = 5.0
"""Seconds without a message after which the server is polled."""
POLL_SECONDS = 10.0
"""Seconds for an answer to a poll. A server that does not answer in time is busy, not lost: it may
load a model."""
LAST_LOOK = 0.5
"""How long a lost prompt is looked for once more, as a share of `Timeouts.reconnect`."""
CANCEL_SECONDS = 5.0
"""Limit for cancelling a prompt, in seconds."""
MAX_CHECKS = 3
"""How often a prompt is looked up that is not in the queue yet, or is missing from the history."""
CHECK_PAUSE = 0.2
"""Seconds between two such checks."""
MAX_ANSWER_TIMES = 24
"""How many times the limit of an answer a prompt may take in all, its wait in the queue included:
four hours. Each sign of life extends only the limit of an answer."""
MAX_MESSAGES = 500_000
"""Messages about one prompt: thirty a second for four hours."""


class Monitor:
    """Follows the prompts of one job, which the server knows by its `client_id`."""

    def __init__(
        self,
        client: Client,
        socket: WebSocket,
        previews: Previews,
        client_id: str,
        timeouts: Timeouts,
    ) -> None:
        self._client = client
        self._socket = socket
        self._previews = previews
        self._client_id = client_id
        self._timeouts = timeouts
        self._last_activity = self._last_contact = time.monotonic()
        self._times_missing = self._messages = 0
        self._is_lost = False
        self._openings = 0
        self._grace = min(timeouts.reconnect, timeouts.answer)

    async def follow(self, progress: PromptProgress) -> AsyncGenerator[Event, None]:
        """Yield the prompt's events until it is done.

        Raises:
            BackendError: it failed, or the server no longer tells its state.
        """
        started = self._last_activity = self._last_contact = time.monotonic()
        self._times_missing = self._messages = 0
        while not progress.is_done:
            event = await self._next_event(progress)
            if event is not None:
                yield event
            now = time.monotonic()
            is_late = (
                now - self._last_activity > self._timeouts.answer
                or now - started > self._timeouts.answer * MAX_ANSWER_TIMES
                or self._messages > MAX_MESSAGES
            )
            if is_late and not progress.is_done:
                progress.is_abandoned = now - self._last_contact > self._grace
                raise unanswered(self._client.server, sent=True)

    @property
    def has_all_messages(self) -> bool:
        """True if the websocket has been open all the time, so that no message was missed."""
        return not self._socket.was_disconnected

    async def read_history(self, progress: PromptProgress) -> None:
        """Read the outputs of a finished prompt, if the server's history has them.

        A lost connection is waited for.

        Raises:
            BackendError: it did not come back, or the history says that the prompt failed.
        """
        missing = 0
        while missing < MAX_CHECKS:
            try:
                entry = await self._get_history(progress)
            except Exception as error:
                if not is_connection_lost(error):
                    return  # a server without a history
                self._raise_if_given_up(error, self._grace * (1 + LAST_LOOK))
            else:
                self._last_contact = time.monotonic()
                if entry is not None:
                    progress.handle_history(entry)
                    return
                missing += 1
            await asyncio.sleep(CHECK_PAUSE)

    async def cancel(self, progress: PromptProgress) -> None:
        """Interrupt the prompt if it runs, delete it from the queue if it waits; never raises.

        A server too old to take a prompt's id interrupts any prompt that runs: so the request is
        sent only while this one does.
        """
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CANCEL_SECONDS):
                for _ in range(MAX_CHECKS):
                    running, waiting = await self._get_queue()
                    if any(self._is_own(item, progress) for item in running):
                        await self._client.post_json("/interrupt", {"prompt_id": progress.id})
                        return
                    own = [item for item in waiting if self._is_own(item, progress)]
                    if own:  # and check again, in case it starts at this moment
                        await self._client.post_json(
                            "/queue", {"delete": [item[1] for item in own]}
                        )
                    elif progress.is_accepted:
                        return
                    await asyncio.sleep(CHECK_PAUSE)

    async def _next_event(self, progress: PromptProgress) -> Event | None:
        frame = await self._socket.receive(min(SILENCE_SECONDS, self._timeouts.answer))
        self._messages += 1
        if frame is not None:
            self._last_contact = time.monotonic()
        match frame:
            case None:
                return await self._poll(progress)
            case Image(data) if progress.is_sending_pictures:
                progress.add_picture(data)
            case Image(data):
                self._last_activity = time.monotonic()
                preview = await self._previews.make(_identity, data)
                return None if preview is None else Progress(preview=preview)
            case Message("status", _) if self._may_have_missed_end():
                return await self._poll(progress)
            case Message("status", _):
                return None if progress.is_running else await self._poll(progress, listening=True)
            case Message(kind, data):
                if data.get("prompt_id") == progress.id:
                    self._last_activity = time.monotonic()
                return progress.handle_message(kind, data)
        return None

    def _may_have_missed_end(self) -> bool:
        """Return True if the prompt may have ended while the websocket was closed.

        So it is once after it was opened anew, and where it says nothing of this prompt for long:
        the status of other jobs may come so often that it is never silent.
        """
        silent = time.monotonic() - self._last_activity > SILENCE_SECONDS
        is_new, self._openings = self._socket.openings != self._openings, self._socket.openings
        return (silent or is_new) and self._socket.was_disconnected

    async def _poll(self, progress: PromptProgress, *, listening: bool = False) -> Event | None:
        """Look up the prompt's state; a failed request is repeated at the next poll.

        With `listening`, the history is left alone: an open websocket reports the end of a prompt
        itself, after all earlier messages.

        Raises:
            BackendError: the prompt failed, or there was no sign of life for too long.
        """
        import httpx2

        try:
            async with asyncio.timeout(self._timeouts.connect + POLL_SECONDS):
                event = await self._poll_once(progress, listening=listening)
        except TimeoutError:
            return None
        except (httpx2.HTTPError, ValueError) as error:
            if not is_connection_lost(error):
                return None  # something answers, if not as it should
            if time.monotonic() - self._last_contact > self._grace:
                await self._look_once_more(progress, error)
                return None
            lost = "no connection to the server: waiting for it"
            self._is_lost = True
            event = Progress(message=lost) if progress.is_running else Queued(message=lost)
            return progress.unless_repeated(event)
        self._last_contact = time.monotonic()
        was_lost, self._is_lost = self._is_lost, False
        if event is None and was_lost and progress.is_running and not progress.is_done:
            return progress.unless_repeated(Progress())  # the message about the connection goes
        return event

    async def _look_once_more(self, progress: PromptProgress, error: Exception) -> None:
        """Ask for the prompt for a last time, and give up what the server may be drawing still.

        Raises:
            BackendError: the prompt failed, or the server does not answer.
        """
        import httpx2

        progress.is_abandoned = True
        while True:
            try:
                async with asyncio.timeout(self._timeouts.connect + POLL_SECONDS):
                    await self._poll_once(progress, listening=False)
            except (httpx2.HTTPError, ValueError, TimeoutError) as last:
                self._raise_if_given_up(error, self._grace * (1 + LAST_LOOK))
                error = last
            else:
                break
            await asyncio.sleep(CHECK_PAUSE)
        progress.is_abandoned = False
        self._last_contact = time.monotonic()

    def _raise_if_given_up(self, error: Exception, seconds: float) -> None:
        """Raise the error for a server that has given no sign of life for so many `seconds`."""
        silence = time.monotonic() - self._last_contact
        if silence > seconds:
            raise connection_lost(self._client.server, error, silence) from error

    async def _poll_once(self, progress: PromptProgress, *, listening: bool) -> Event | None:
        queue = await self._get_queue_if_offered()
        running, waiting = queue or ([], [])
        if any(self._is_own(item, progress) for item in running):
            has_started, progress.is_running = not progress.is_running, True
            return Progress() if has_started else None
        for item in waiting:
            if self._is_own(item, progress):
                self._last_activity = time.monotonic()
                ahead = len(running) + sum(_position(other) < _position(item) for other in waiting)
                return progress.unless_repeated(Queued(message=_queue_message(ahead)))
        if listening:
            return None
        entry = await self._get_history(progress)
        if entry is not None:
            progress.handle_history(entry)
        elif queue is not None:
            self._times_missing += 1
            if self._times_missing > MAX_CHECKS:
                raise prompt_lost(self._client.server.name)
        return None

    async def _get_queue_if_offered(self) -> tuple[list[list[Any]], list[list[Any]]] | None:
        """Return the running and the waiting prompts, None if the server does not tell them."""
        import httpx2

        try:
            return await self._get_queue()
        except (httpx2.HTTPError, ValueError) as error:
            if is_connection_lost(error):
                raise
            return None

    async def _get_queue(self) -> tuple[list[list[Any]], list[list[Any]]]:
        answer = mapping(await self._client.get("/queue"))
        return _queue_items(answer.get("queue_running")), _queue_items(answer.get("queue_pending"))

    async def _get_history(self, progress: PromptProgress) -> Mapping[str, Any] | None:
        answer = mapping(await self._client.get(f"/history/{progress.id}"))
        entry = answer.get(progress.id)
        return mapping(entry) if entry else None

    def _is_own(self, item: list[Any], progress: PromptProgress) -> bool:
        """Return True if a queue entry is the prompt's.

        Before an older server has answered, the prompt's id there is unknown: the client id
        decides.
        """
        if item[1] == progress.id:
            return True
        more = mapping(item[3]) if len(item) > 3 else {}
        return not progress.is_accepted and more.get("client_id") == self._client_id


def _queue_message(ahead: int) -> str:
    if ahead < 1:
        return "next on the server"
    return f"behind {ahead} other job{'s' if ahead > 1 else ''} on the server"


def _position(item: list[Any]) -> float:
    return number(item[0]) or 0.0


def _identity(body: bytes) -> bytes:
    return body


def _queue_items(value: object) -> list[list[Any]]:
    """Return the entries of a queue: arrays of position, id, graph and further data."""
    return [entry for entry in map(items, items(value)) if len(entry) > 1]
