"""Import a heavy client library once, and keep its objects out of garbage collection.

A client library creates some hundred thousand objects. The garbage collector would traverse all of
them again and again, and block the event loop for a sixth of a second each time.
"""

import atexit
import gc
import importlib
import sys
from types import ModuleType


def import_once(name: str) -> ModuleType:
    """Import the module `name`; the first time, freeze all objects that exist by then.

    Frozen objects are ignored by the garbage collector; `collect_garbage` includes them. Slow the
    first time: call it in a thread.
    """
    new = name not in sys.modules
    module = importlib.import_module(name)
    if new:
        gc.freeze()
        # Some packages warn at exit about objects that are still alive: collect those too by then.
        atexit.register(gc.unfreeze)
    return module


def collect_garbage() -> None:
    """Collect all garbage, frozen objects included; slow."""
    frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if frozen:
        gc.freeze()
