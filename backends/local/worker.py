"""One device with its worker thread and its cache of models.

Pipelines are not thread-safe, so one thread loads, runs and evicts them. The event loop only waits
for the events that this thread reports.
"""

import asyncio
import importlib
import threading
from collections.abc import AsyncGenerator, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from backends.base import Event, Loading, Progress, Queued
from backends.local import zerogpu
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory import devices
from backends.local.memory.cache import ModelCache
from backends.local.weights.sources import files_version
from backends.local.zerogpu import Emit, Stopped

if TYPE_CHECKING:
    from backends.local.inference import DeviceContext


class DeviceWorker:
    """A worker for one device; its thread starts with the first run."""

    def __init__(
        self, device_name: str = devices.AUTO, budgets: devices.Budgets | None = None
    ) -> None:
        self._device_name, self._budgets = device_name, budgets
        self._ready = False
        self._run_job = zerogpu.mark_for_gpu(self._run_in_thread)

    @cached_property
    def context(self) -> "DeviceContext":
        """The device and its cache. Imports torch, so only the worker's thread may ask for it."""
        from backends.local.inference import DeviceContext
        from backends.local.loading import move

        device = devices.choose_device(self._device_name, self._budgets)
        return DeviceContext(
            device,
            ModelCache(
                device.budget,
                free=lambda created: devices.free_memory(device, created),
                ram_budget=device.ram_budget or 0,
                move=None if device.ram_budget is None else partial(move, device),
            ),
        )

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix=f"local {self._device_name}")

    def warm(self) -> None:
        """Import the libraries in the worker's thread; jobs that arrive meanwhile are queued."""
        if not self._ready:
            self._thread.submit(self._import_libraries)

    async def run(self, job: LocalJob) -> AsyncGenerator[Event, None]:
        """Run `job` after the jobs before it and yield the events that it reports.

        Closing the generator stops the job at its next step and waits until its thread has left it.
        """
        loop = asyncio.get_running_loop()
        reports: asyncio.Queue[Event | None] = asyncio.Queue()
        stopped = threading.Event()

        def emit(event: Event | None) -> None:
            if event is not None and stopped.is_set():
                raise Stopped
            loop.call_soon_threadsafe(reports.put_nowait, event)

        def run_and_finish() -> None:
            try:
                self._run_job(job, emit)
            finally:
                emit(None)

        if zerogpu.is_installed():
            yield Queued(message="waiting for a GPU of the Space")
        elif not self._ready:
            yield Loading(message="starting PyTorch")  # the thread may be at it since `warm`
        future = self._thread.submit(run_and_finish)
        finished = asyncio.wrap_future(future)
        try:
            while (event := await reports.get()) is not None:
                yield event
            await finished
        finally:
            stopped.set()
            future.cancel()  # if it has not begun
            await asyncio.wait({finished})
            if not finished.cancelled():
                finished.exception()  # retrieved: asyncio would log it otherwise

    def close(self) -> None:
        """Release all models in memory, after the run in progress."""
        if self._ready:
            self._thread.submit(self._clear_cache)

    def _run_in_thread(self, job: LocalJob, emit: Emit[Event]) -> None:
        if zerogpu.is_installed():  # the wait for the GPU is over
            emit(Progress() if self._ready else Loading(message="starting PyTorch"))
        self._import_libraries()
        from backends.local.inference import run_job

        job = _with_versions(job)
        self.context.cache.discard(partial(_is_outdated, job))
        run_job(self.context, job, emit)

    def _import_libraries(self) -> None:
        """Import torch and diffusers."""
        importlib.import_module("backends.local.inference")
        _ = self.context
        self._ready = True

    def _clear_cache(self) -> None:
        self.context.cache.clear()


def _with_versions(job: LocalJob) -> LocalJob:
    """Return `job` with the present versions of its models' files."""

    def current(spec: ModelSpec) -> ModelSpec:
        return replace(spec, version=files_version(spec.sources))

    controls = tuple(
        replace(each, controlnet=current(each.controlnet)) for each in job.controlnet_inputs
    )
    return replace(job, spec=current(job.spec), controlnet_inputs=controls)


def _is_outdated(job: LocalJob, key: Hashable) -> bool:
    """Whether a model in memory was loaded from files of `job` that have been rewritten since."""
    specs = (job.spec, *(control.controlnet for control in job.controlnet_inputs))
    return isinstance(key, ModelSpec) and any(
        key.sources == spec.sources and key.version != spec.version for spec in specs
    )


@cache
def device_worker(device_name: str, budgets: devices.Budgets) -> DeviceWorker:
    """Return the worker for these settings; all backends of the process share it."""
    return DeviceWorker(device_name, budgets)
