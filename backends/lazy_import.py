"""Import a heavy client library once, and keep its objects out of garbage collection.

A client library creates some hundred thousand objects. The garbage collector would traverse all of
them again and again, and block the event loop for a sixth of a second each time.
"""

import atexit
import gc
import importlib
import sys
from types import ModuleType

_freezes = 0


def import_once(name: str) -> ModuleType:
    """Import the module `name`; the first time, freeze all objects that exist by then.

    Frozen objects are ignored by the garbage collector; `collect_garbage` includes them. Slow the
    first time: call it in a thread.
    """
    new = name not in sys.modules
    module = importlib.import_module(name)
    if new:
        _freeze()
        # Some packages warn at exit about objects that are still alive: collect those too by then.
        atexit.register(gc.unfreeze)
    return module


def freeze_count() -> int:
    """Return how often this module has frozen all objects that existed."""
    return _freezes


def collect_garbage(created: int | None = None) -> None:
    """Collect all garbage, frozen objects included.

    `created` is the `freeze_count` from before the garbage was created, None if that is unknown.
    While it has not changed, none of the garbage is frozen, and collecting takes milliseconds
    instead of the half second in which all objects of PyTorch are traversed.
    """
    if created == _freezes:
        gc.collect()
        return
    frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if frozen:
        _freeze()


def _freeze() -> None:
    global _freezes
    gc.freeze()
    _freezes += 1
