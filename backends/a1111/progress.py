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

PAUSE = 0.4
"""Seconds between two looks."""
PATIENCE = 5.0
"""Seconds that stopping may take."""
LOOKS = 3
"""How often a job that is to be stopped is looked for, in case it is only about to begin."""

_WHOLE = "/sdapi/v1/progress?skip_current_image="


class Monitor:
    """Looks after one job; `waited` is how long the server let it wait, in seconds."""

    def __init__(self, wire: Client, previews: Previews, call: ApiRequest) -> None:
        self._wire = wire
        self._previews = previews
        self._call = call
        self._began = time.monotonic()
        self._knows_tasks = True
        self._idle = False
        self._stamp: object = None
        self._ours: object = None
        self._preview_id = 0
        self._preview: str = ""
        self._last: Progress | Queued | None = None
        self.waited = 0.0

    async def start(self) -> None:
        """See what the server does before the job is sent; raises as `Wire.get` does."""
        state = _mapping(_mapping(await self._wire.get(f"{_WHOLE}true")).get("state"))
        self._idle = not _busy(state)
        self._stamp = state.get("job_timestamp")
        self._began = time.monotonic()

    async def look(self) -> Progress | Queued | None:
        """Wait a little, then return what is new, if anything is.

        A look that fails costs nobody the picture.
        """
        await asyncio.sleep(PAUSE)
        with contextlib.suppress(Exception):
            task = await self._task()
            if task.get("queued"):
                self.waited = time.monotonic() - self._began
                return self._news(Queued(message="behind another job on the server"))
            if task.get("active"):
                self._preview_id = _whole(task.get("id_live_preview")) or self._preview_id
                done = _fraction(task.get("progress"))
                step = None if self._call.steps is None else round(done * self._call.steps)
                preview = await self._picture(task.get("live_preview"))
                return self._news(Progress(step=step, steps=self._call.steps, preview=preview))
            if not task.get("completed"):
                return await self._look_at_all()
        return None

    async def stop(self) -> None:
        """Interrupt the job if it is the one that the server works on; never raises."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                for _ in range(LOOKS):
                    if await self._runs():
                        await self._wire.ask("/sdapi/v1/interrupt", {})
                        return
                    await asyncio.sleep(PAUSE / 2)

    async def _runs(self) -> bool:
        task = await self._task()
        if task.get("queued") or task.get("completed"):
            return False
        return bool(task.get("active")) or self._is_ours(
            _mapping(_mapping(await self._wire.get(f"{_WHOLE}true")).get("state"))
        )

    async def _task(self) -> Mapping[str, Any]:
        """What the server says of our task; nothing where it knows of none."""
        import httpx2

        if not self._knows_tasks:
            return {}
        asked = {"id_task": self._call.task, "id_live_preview": self._preview_id}
        try:
            return _mapping(await self._wire.ask("/internal/progress", asked))
        except httpx2.HTTPStatusError as error:
            if error.response.is_server_error:
                raise
            self._knows_tasks = False  # no such route, or it is not for callers of the API
            return {}

    async def _look_at_all(self) -> Progress | Queued | None:
        answer = _mapping(await self._wire.get(f"{_WHOLE}false"))
        state = _mapping(answer.get("state"))
        if not self._is_ours(state):
            return None
        each, jobs = _whole(state.get("sampling_steps")), _whole(state.get("job_count"))
        if each < 1 or jobs < 1:
            return None
        step = _whole(state.get("job_no")) * each + _whole(state.get("sampling_step"))
        preview = await self._picture(answer.get("current_image"))
        return self._news(Progress(step=min(step, each * jobs), steps=each * jobs, preview=preview))

    def _is_ours(self, state: Mapping[str, Any]) -> bool:
        stamp = state.get("job_timestamp")
        if not self._idle or not _busy(state) or stamp == self._stamp:
            return False
        if self._ours is None:
            self._ours = stamp
        return stamp == self._ours

    async def _picture(self, encoded: object) -> Preview | None:
        if not isinstance(encoded, str) or not encoded or encoded == self._preview:
            return None
        self._preview = encoded
        return await self._previews.make(decoded, encoded.encode())

    def _news(self, event: Progress | Queued) -> Progress | Queued | None:
        if isinstance(event, Progress) and event.preview is not None:
            self._last = replace(event, preview=None)
            return event
        if event == self._last:
            return None
        self._last = event
        return event


def decoded(encoded: bytes) -> bytes | None:
    """Return the picture in base64, with or without `data:image/png;base64,` before it."""
    try:
        return pybase64.b64decode(encoded.rpartition(b",")[2])
    except binascii.Error:
        return None


def _busy(state: Mapping[str, Any]) -> bool:
    return bool(state.get("job")) or bool(state.get("job_count"))


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _fraction(value: object) -> float:
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else 0.0
