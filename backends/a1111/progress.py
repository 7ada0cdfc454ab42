"""How far a job on an AUTOMATIC1111 server is, and how it is stopped.

The server tells one caller's job from another's only if it knows the task's id, as AUTOMATIC1111
and Forge do. Where it does not, its state as a whole counts as ours from the moment that a job
begins on a server that was idle when ours was sent; on a busy one nothing is shown or stopped.
"""

import asyncio
import binascii
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pybase64

from backends.a1111.client import Client
from backends.a1111.request import ApiRequest
from backends.base import Preview, Progress, Queued
from backends.images.previews import Previews

POLL_SECONDS = 0.4
"""Seconds between two looks."""
INTERRUPT_SECONDS = 5.0
"""Seconds that stopping may take."""
MAX_CHECKS = 3
"""How often a job that is to be stopped is looked for, in case it is only about to begin."""

_GLOBAL_PROGRESS = "/sdapi/v1/progress?skip_current_image="


class Monitor:
    """Looks after one job; `waited` is how long the server let it wait, in seconds."""

    def __init__(self, wire: Client, previews: Previews, call: ApiRequest) -> None:
        self._client = wire
        self._previews = previews
        self._api_request = call
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
        """See what the server does before the job is sent; raises as `Wire.get` does."""
        state = _mapping(_mapping(await self._client.get(f"{_GLOBAL_PROGRESS}true")).get("state"))
        self._was_idle = not _is_busy(state)
        self._timestamp_before = state.get("job_timestamp")
        self._started_at = time.monotonic()

    async def poll(self) -> Progress | Queued | None:
        """Wait a little, then return what is new, if anything is.

        A look that fails costs nobody the picture.
        """
        await asyncio.sleep(POLL_SECONDS)
        with contextlib.suppress(Exception):
            task = await self._get_task()
            if task.get("queued"):
                self.queue_seconds = time.monotonic() - self._started_at
                return self._unless_repeated(Queued(message="behind another job on the server"))
            if task.get("active"):
                self._preview_id = _whole(task.get("id_live_preview")) or self._preview_id
                done = _fraction(task.get("progress"))
                step = (
                    None
                    if self._api_request.steps is None
                    else round(done * self._api_request.steps)
                )
                preview = await self._make_preview(task.get("live_preview"))
                return self._unless_repeated(
                    Progress(step=step, steps=self._api_request.steps, preview=preview)
                )
            if not task.get("completed"):
                return await self._poll_global_state()
        return None

    async def interrupt(self) -> None:
        """Interrupt the job if it is the one that the server works on; never raises."""
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
            _mapping(_mapping(await self._client.get(f"{_GLOBAL_PROGRESS}true")).get("state"))
        )

    async def _get_task(self) -> Mapping[str, Any]:
        """What the server says of our task; nothing where it knows of none."""
        import httpx2

        if not self._has_task_route:
            return {}
        asked = {"id_task": self._api_request.task_id, "id_live_preview": self._preview_id}
        try:
            return _mapping(await self._client.post_json("/internal/progress", asked))
        except httpx2.HTTPStatusError as error:
            if error.response.is_server_error:
                raise
            self._has_task_route = False  # no such route, or it is not for callers of the API
            return {}

    async def _poll_global_state(self) -> Progress | Queued | None:
        answer = _mapping(await self._client.get(f"{_GLOBAL_PROGRESS}false"))
        state = _mapping(answer.get("state"))
        if not self._is_own(state):
            return None
        each, jobs = _whole(state.get("sampling_steps")), _whole(state.get("job_count"))
        if each < 1 or jobs < 1:
            return None
        step = _whole(state.get("job_no")) * each + _whole(state.get("sampling_step"))
        preview = await self._make_preview(answer.get("current_image"))
        return self._unless_repeated(
            Progress(step=min(step, each * jobs), steps=each * jobs, preview=preview)
        )

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
    """Return the picture in base64, with or without `data:image/png;base64,` before it."""
    try:
        return pybase64.b64decode(encoded.rpartition(b",")[2])
    except binascii.Error:
        return None


def _is_busy(state: Mapping[str, Any]) -> bool:
    return bool(state.get("job")) or bool(state.get("job_count"))


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _fraction(value: object) -> float:
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else 0.0
