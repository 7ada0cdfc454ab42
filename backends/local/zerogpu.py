"""Run jobs on a ZeroGPU Space, where the GPU exists only in functions marked with `spaces.GPU`.

Such a function runs in a process of its own and may be a generator. The job, which reports by
calling `emit`, becomes a generator in that process, and its items are passed to `emit` in this one.
Without the `spaces` package nothing changes.
"""

import importlib
import importlib.util
import queue
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar

W = TypeVar("W")
E = TypeVar("E")
Emit = Callable[[E], None]


class Stopped(Exception):
    """Raised by `emit` once the run has been stopped; ends the job."""


def is_installed() -> bool:
    """Return whether jobs wait in the Space's queue for a GPU."""
    return importlib.util.find_spec("spaces") is not None


def mark_for_gpu(run_job: Callable[[W, Emit[E]], None]) -> Callable[[W, Emit[E]], None]:
    """Wrap `run_job` in a function marked for ZeroGPU if the `spaces` package is installed."""
    if not is_installed():
        return run_job
    spaces: Any = importlib.import_module("spaces")

    def on_gpu(work: W) -> Generator[E, None, None]:
        yield from iterate_reports(partial(run_job, work))

    marked: Callable[[W], Generator[E, None, None]] = spaces.GPU(on_gpu)

    def run_marked(work: W, emit: Emit[E]) -> None:
        items = marked(work)
        try:
            for item in items:
                emit(item)
        finally:
            items.close()

    return run_marked


def iterate_reports(work: Callable[[Emit[E]], None]) -> Generator[E, None, None]:
    """Run `work` in a thread and yield the items that it emits; closing the generator stops it."""
    items: queue.SimpleQueue[tuple[E] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def emit(item: E) -> None:
        if stopped.is_set():
            raise Stopped
        items.put((item,))

    def run() -> None:
        try:
            work(emit)
        except BaseException as error:  # raised again by the generator
            items.put(error)
        else:
            items.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        thread.join()
