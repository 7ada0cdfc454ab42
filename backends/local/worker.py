"""One device with its worker thread and what it holds in memory.

Pipelines are not thread-safe, so one thread does everything with them: load, draw, evict. The
event loop only ever waits for what that thread reports.
"""

import asyncio
import importlib
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from backends.base import Event, Loading
from backends.local import zerogpu
from backends.local.job import LocalJob
from backends.local.memory import devices
from backends.local.memory.cache import ModelCache
from backends.local.zerogpu import Emit, Stopped

if TYPE_CHECKING:
    from backends.local.inference import DeviceContext


class DeviceWorker:
    """A worker for one device; its thread starts with the first run."""

    def __init__(self, wanted: str = devices.AUTO, budgets: devices.Budgets | None = None) -> None:
        self._wanted, self._budgets = wanted, budgets
        self._awake = False
        self._draw = zerogpu.mark(self._draw_here)

    @cached_property
    def place(self) -> "DeviceContext":
        """The device and its memory. Imports torch: for the worker, not for the event loop."""
        from backends.local.inference import DeviceContext
        from backends.local.loading import move

        chosen = devices.choose(self._wanted, self._budgets)
        return DeviceContext(
            chosen,
            ModelCache(
                chosen.bound,
                freed=lambda: devices.free(chosen),
                ram=chosen.ram or 0,
                move=None if chosen.ram is None else partial(move, chosen),
            ),
        )

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix=f"local {self._wanted}")

    def warm(self) -> None:
        """Import what drawing needs, in the worker's thread; work that comes meanwhile waits."""
        if not self._awake:
            self._thread.submit(self._wake)

    async def run(self, work: LocalJob) -> AsyncGenerator[Event, None]:
        """Do `work` when its turn comes and yield what it reports.

        Closing the generator stops the work at its next step and waits until it has left.
        """
        loop = asyncio.get_running_loop()
        reports: asyncio.Queue[Event | None] = asyncio.Queue()
        stopped = threading.Event()

        def emit(event: Event | None) -> None:
            if event is not None and stopped.is_set():
                raise Stopped
            loop.call_soon_threadsafe(reports.put_nowait, event)

        def whole() -> None:
            try:
                self._draw(work, emit)
            finally:
                emit(None)

        future = self._thread.submit(whole)
        left = asyncio.wrap_future(future)
        try:
            while (event := await reports.get()) is not None:
                yield event
            await left
        finally:
            stopped.set()
            future.cancel()  # where its turn has not come yet
            await asyncio.wait({left})
            if not left.cancelled():
                left.exception()  # seen: what a stopped run raises is nobody's concern

    def close(self) -> None:
        """Let go of everything in memory, when the run in progress is over."""
        if self._awake:
            self._thread.submit(self._empty)

    def _draw_here(self, work: LocalJob, emit: Emit[Event]) -> None:
        if not self._awake:
            emit(Loading(message="starting PyTorch"))
        woke = self._wake()
        from backends.local.inference import run_job

        run_job(self.place, work, emit, woke=woke)

    def _wake(self) -> float:
        """Import torch and diffusers; returns the seconds that it took."""
        began = time.monotonic()
        importlib.import_module("backends.local.inference")
        _ = self.place
        self._awake = True
        return time.monotonic() - began

    def _empty(self) -> None:
        self.place.cache.clear()


@cache
def device_worker(wanted: str, budgets: devices.Budgets) -> DeviceWorker:
    """The machine for these settings: every backend on this computer shares one."""
    return DeviceWorker(wanted, budgets)
