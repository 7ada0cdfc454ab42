"""Follow the progress of a job on an AUTOMATIC1111 server, and interrupt it.

AUTOMATIC1111 and Forge tell the jobs of different clients apart by a task id. SD.Next and older
servers know none for jobs of the API: they report one global state. It is this job's if the server
was idle when the job was posted, until its answer begins, since they run one job at a time. The
fields `job` and `job_timestamp` do not tell it: SD.Next sets new ones for every phase of a job
(load, process, inference, decode), and none between phases.

https://github.com/vladmandic/sdnext/blob/master/modules/shared_state.py (begin, end, clear),
https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/progress.py
"""

import asyncio
import binascii
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pybase64

from backends.a1111.client import COURTESY_SECONDS, Client
from backends.a1111.request import ApiRequest
from backends.base import Preview, Progress, Queued
from backends.http.self_hosted import MISSING_ROUTE, unanswered
from backends.images.previews import Previews
from backends.json_values import count, mapping, number

POLL_SECONDS = 0.4
"""Seconds between two polls."""
GAP_SECONDS = 0.15
"""Seconds after which a server that seems idle is looked at again: between two phases of a job,
SD.Next seems to be."""
INTERRUPT_SECONDS = 20.0
"""Limit for interrupting a job, in seconds: SD.Next forgets an interruption when the job's next
phase begins, so it is repeated until the job has ended."""
LOOK_SECONDS = 2.0
"""Limit for one look at a job, in seconds: Stop and the pictures wait for it."""
MAX_CHECKS = 3
"""How often a job to be interrupted is looked up, in case it is about to start."""

_NO_ROUTE: Final = MISSING_ROUTE | {401, 403, 422}
_GLOBAL_PROGRESS: Final = "/sdapi/v1/progress?skip_current_image="
# Only AUTOMATIC1111 and its forks have this field, and they keep an interruption for a whole job.
_KEEPS_INTERRUPTION: Final = "stopping_generation"


class Monitor:
    """Follows one job.

    `queue_seconds` is how long it waited in the server's queue, None if that cannot be known.
    `interrupted` says that somebody at the server interrupted it.
    """

    def __init__(self, client: Client, previews: Previews, api_request: ApiRequest) -> None:
        self._client = client
        self._previews = previews
        self._api_request = api_request
        self._started_at = time.monotonic()
        self._has_task_route = True
        self._was_idle: bool | None = None
        self._is_over = False
        self._steps_before = 0
        self._last_step = 0
        self._last_steps = 0
        self._preview_id = 0
        self._last_preview: str = ""
        self._last_event: Progress | Queued | None = None
        self.queue_seconds: float | None = 0.0
        self.interrupted = False

    async def start(self) -> None:
        """Read the server's state before the job is posted.

        A server that does not report its progress draws all the same, if anything else shows that
        it is one of this kind; raises as `Client.get` does if nothing does.
        """
        try:
            async with asyncio.timeout(COURTESY_SECONDS):
                state = await self._get_state()
                idle = not _is_busy(state)
                if idle and _KEEPS_INTERRUPTION not in state:
                    await asyncio.sleep(GAP_SECONDS)
                    idle = not _is_busy(await self._get_state())
                self._was_idle = idle
        except TimeoutError as error:
            if not await self._client.has_api():
                raise unanswered(self._client.server, sent=False) from error
        except Exception:
            if not await self._client.has_api():
                raise
        self._started_at = time.monotonic()

    def answer_begins(self) -> None:
        """Record that the server sends its answer: from now on it runs other jobs."""
        self._is_over = True

    async def poll(self) -> Progress | Queued | None:
        """Wait for `POLL_SECONDS`, then return an event if the progress has changed.

        A failed poll is ignored: it must not cost the user the picture.
        """
        await asyncio.sleep(POLL_SECONDS)
        with contextlib.suppress(Exception):
            task = await self._get_task()
            if task.get("queued"):
                self.queue_seconds = time.monotonic() - self._started_at
                return self._queued()
            if task.get("active") and isinstance(self._last_event, Queued):
                return self._unless_repeated(Progress())  # the turn begins, a look comes later
            if task.get("active"):
                self._preview_id = count(task.get("id_live_preview")) or self._preview_id
                done = min(max(number(task.get("progress")) or 0.0, 0.0), 1.0)
                steps = self._api_request.steps
                step = None if steps is None else round(done * steps)
                preview = await self._make_preview(task.get("live_preview"))
                return self._unless_repeated(Progress(step=step, steps=steps, preview=preview))
            if not task.get("completed"):
                return await self._poll_global_state()
        return None

    async def finish(self) -> None:
        """Look after the answer whether the job was interrupted; never raises.

        The last job's state is kept until the next one begins.
        """
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LOOK_SECONDS):
                state = await self._get_state()
                self.interrupted |= _is_interrupted(state) and not _is_busy(state)

    async def interrupt(self) -> None:
        """Interrupt the job while it is the one that the server runs; never raises."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(INTERRUPT_SECONDS):
                checks, phase = 0, None
                while checks < MAX_CHECKS and not self._is_over:
                    state = await self._running_state()
                    if state is None:
                        checks += 1
                    else:
                        checks = 0
                        now = (state.get("job"), state.get("job_timestamp"))
                        if state.get("interrupted") is False or now != phase:
                            await self._client.post("/sdapi/v1/interrupt", {})
                        phase = now
                        if _KEEPS_INTERRUPTION in state:
                            return
                    await asyncio.sleep(POLL_SECONDS / 2)

    async def _running_state(self) -> Mapping[str, Any] | None:
        """Return the server's state if it runs this job, None if not or if it does not tell."""
        task = await self._get_task()
        if task.get("queued") or task.get("completed"):
            return None
        if task.get("active"):
            return {_KEEPS_INTERRUPTION: False}
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LOOK_SECONDS):
                state = await self._get_state()
                return state if self._is_own(state) else None
        return None

    async def _get_state(self) -> Mapping[str, Any]:
        answer = mapping(await self._client.get(f"{_GLOBAL_PROGRESS}true"))
        return mapping(answer.get("state"))

    async def _get_task(self) -> Mapping[str, Any]:
        """Return the server's state of this job's task; empty where it tells none."""
        if not self._has_task_route:
            return {}
        body = {"id_task": self._api_request.task_id, "id_live_preview": self._preview_id}
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LOOK_SECONDS):
                response = await self._client.post("/internal/progress", body)
                # No such route, or none for clients of the API.
                self._has_task_route = response.status_code not in _NO_ROUTE
                return mapping(await self._client.parse(response))
        return {}

    async def _poll_global_state(self) -> Progress | Queued | None:
        answer = mapping(await self._client.get(f"{_GLOBAL_PROGRESS}false"))
        state = mapping(answer.get("state"))
        if self._was_idle is False and _is_busy(state):
            self.queue_seconds = None
            return self._queued(", which does not tell when its turn comes")
        if not self._is_own(state):
            return None
        self.interrupted |= _is_interrupted(state)
        step = self._step(state)
        if step is None:
            return None
        steps = max(step, self._api_request.steps or self._steps_before + self._last_steps)
        preview = await self._make_preview(answer.get("current_image"))
        return self._unless_repeated(Progress(step=step, steps=steps, preview=preview))

    def _step(self, state: Mapping[str, Any]) -> int | None:
        """Return the number of finished steps of all pictures, None outside of sampling.

        Where the count of a state falls, a further pass of sampling has begun: SD.Next counts anew
        for every picture.
        """
        steps = count(state.get("sampling_steps"))
        if steps < 1 or (count(state.get("job_count")) < 1 and not state.get("sampling_step")):
            return None
        step = count(state.get("job_no")) * steps + count(state.get("sampling_step"))
        if step < self._last_step:
            self._steps_before += max(self._last_step, self._last_steps)
        self._last_step, self._last_steps = step, steps
        return min(self._steps_before + step, self._api_request.steps or self._steps_before + step)

    def _is_own(self, state: Mapping[str, Any]) -> bool:
        """Return whether a global state is this job's."""
        return self._was_idle is True and not self._is_over and _is_busy(state)

    async def _make_preview(self, encoded: object) -> Preview | None:
        if not isinstance(encoded, str) or not encoded or encoded == self._last_preview:
            return None
        self._last_preview = encoded
        return await self._previews.make(decode_base64, encoded.encode())

    def _queued(self, more: str = "") -> Progress | Queued | None:
        return self._unless_repeated(Queued(message=f"behind another job on the server{more}"))

    def _unless_repeated(self, event: Progress | Queued) -> Progress | Queued | None:
        if isinstance(event, Progress) and event.preview is not None:
            self._last_event = replace(event, preview=None)
            return event
        if event == self._last_event:
            return None
        self._last_event = event
        return event


def decode_base64(encoded: bytes) -> bytes | None:
    """Decode a base64 picture, with or without the prefix of a data URL; None if damaged."""
    try:
        return pybase64.b64decode(encoded.rpartition(b",")[2])
    except binascii.Error:
        return None


def _is_busy(state: Mapping[str, Any]) -> bool:
    return bool(state.get("job")) or bool(state.get("job_count"))


def _is_interrupted(state: Mapping[str, Any]) -> bool:
    """Return whether a job was interrupted, or one of its pictures skipped half finished."""
    return bool(state.get("interrupted")) or bool(state.get("skipped"))
