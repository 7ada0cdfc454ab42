"""On a ZeroGPU Space the GPU exists only inside functions marked with `spaces.GPU`.

Such a function runs in a process of its own and may yield. So the drawing, which reports by
calling `emit`, is turned into a generator there, and its items are passed on to `emit` here.
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
    """Raised by `emit` when nobody waits for the picture any more; ends the drawing."""


def mark(draw: Callable[[W, Emit[E]], None]) -> Callable[[W, Emit[E]], None]:
    """Return `draw`, run inside a function that is marked for ZeroGPU where `spaces` is there."""
    if importlib.util.find_spec("spaces") is None:
        return draw
    spaces: Any = importlib.import_module("spaces")

    def on_gpu(work: W) -> Generator[E, None, None]:
        yield from reported(partial(draw, work))

    marked: Callable[[W], Generator[E, None, None]] = spaces.GPU(on_gpu)

    def drawn(work: W, emit: Emit[E]) -> None:
        items = marked(work)
        try:
            for item in items:
                emit(item)
        finally:
            items.close()

    return drawn


def reported(work: Callable[[Emit[E]], None]) -> Generator[E, None, None]:
    """Run `work` in a thread and yield what it emits; closing the generator stops it."""
    items: queue.SimpleQueue[tuple[E] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def emit(item: E) -> None:
        if stopped.is_set():
            raise Stopped
        items.put((item,))

    def run() -> None:
        try:
            work(emit)
        except BaseException as error:  # carried to the reader, who raises it
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
