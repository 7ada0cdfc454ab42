"""Follow the progress of a job on an AUTOMATIC1111 server, and interrupt it.

Only a task id tells the jobs of different clients apart; AUTOMATIC1111 and Forge know it. For other
servers their global state counts as this job's from the moment that a job starts on a server that
was idle when this one was posted; on a busy server nothing is shown or interrupted.
"""

import asyncio
import binascii
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pybase64

from backends.a1111.client import Client
from backends.a1111.request import ApiRequest
from backends.base import Preview, Progress, Queued
from backends.images.previews import Previews
from backends.json_values import count, mapping, number

POLL_SECONDS = 0.4
"""Seconds between two polls."""
INTERRUPT_SECONDS = 5.0
"""Limit for interrupting a job, in seconds."""
MAX_CHECKS = 3
"""How often a job to be interrupted is looked up, in case it is about to start."""

_GLOBAL_PROGRESS = "/sdapi/v1/progress?skip_current_image="


class Monitor:
    """Follows one job; `queue_seconds` is how long it waited in the server's queue."""

    def __init__(self, client: Client, previews: Previews, api_request: ApiRequest) -> None:
        self._client = client
        self._previews = previews
        self._api_request = api_request
        self._started_at = time.monotonic()
        self._has_task_route = True
        self._was_idle = False
        self._timestamp_before: object = None
        self._own_timestamp: object = None
        self._preview_id = 0
        self._last_preview: str = ""
        self._last_event: Progress | Queued | None = None
        self.queue_seconds = 0.0

    async def start(self) -> None:
        """Read the server's state before the job is posted; raises as `Client.get` does."""
        state = mapping(mapping(await self._client.get(f"{_GLOBAL_PROGRESS}true")).get("state"))
        self._was_idle = not _is_busy(state)
        self._timestamp_before = state.get("job_timestamp")
        self._started_at = time.monotonic()

    async def poll(self) -> Progress | Queued | None:
        """Wait for `POLL_SECONDS`, then return an event if the progress has changed.

        A failed poll is ignored: it must not cost the user the picture.
        """
        await asyncio.sleep(POLL_SECONDS)
        with contextlib.suppress(Exception):
            task = await self._get_task()
            if task.get("queued"):
                self.queue_seconds = time.monotonic() - self._started_at
                return self._unless_repeated(Queued(message="behind another job on the server"))
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

    async def interrupt(self) -> None:
        """Interrupt the job if it is the one that the server runs; never raises."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(INTERRUPT_SECONDS):
                for _ in range(MAX_CHECKS):
                    if await self._is_running():
                        await self._client.post_json("/sdapi/v1/interrupt", {})
                        return
                    await asyncio.sleep(POLL_SECONDS / 2)

    async def _is_running(self) -> bool:
        task = await self._get_task()
        if task.get("queued") or task.get("completed"):
            return False
        return bool(task.get("active")) or self._is_own(
            mapping(mapping(await self._client.get(f"{_GLOBAL_PROGRESS}true")).get("state"))
        )

    async def _get_task(self) -> Mapping[str, Any]:
        """Return the server's state of this job's task; empty where it knows no tasks."""
        import httpx2

        if not self._has_task_route:
            return {}
        body = {"id_task": self._api_request.task_id, "id_live_preview": self._preview_id}
        try:
            return mapping(await self._client.post_json("/internal/progress", body))
        except httpx2.HTTPStatusError as error:
            if error.response.is_server_error:
                raise
            self._has_task_route = False  # no such route, or none for API clients
            return {}

    async def _poll_global_state(self) -> Progress | Queued | None:
        answer = mapping(await self._client.get(f"{_GLOBAL_PROGRESS}false"))
        state = mapping(answer.get("state"))
        if not self._is_own(state):
            return None
        steps_per_job, jobs = count(state.get("sampling_steps")), count(state.get("job_count"))
        if steps_per_job < 1 or jobs < 1:
            return None
        step = count(state.get("job_no")) * steps_per_job + count(state.get("sampling_step"))
        preview = await self._make_preview(answer.get("current_image"))
        steps = steps_per_job * jobs
        return self._unless_repeated(Progress(step=min(step, steps), steps=steps, preview=preview))

    def _is_own(self, state: Mapping[str, Any]) -> bool:
        stamp = state.get("job_timestamp")
        if not self._was_idle or not _is_busy(state) or stamp == self._timestamp_before:
            return False
        if self._own_timestamp is None:
            self._own_timestamp = stamp
        return stamp == self._own_timestamp

    async def _make_preview(self, encoded: object) -> Preview | None:
        if not isinstance(encoded, str) or not encoded or encoded == self._last_preview:
            return None
        self._last_preview = encoded
        return await self._previews.make(decode_base64, encoded.encode())

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
