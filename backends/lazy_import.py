"""Packages that are imported once and stay.

A client library brings some hundred thousand objects along. The garbage collector would look
through all of them again and again, and hold up the event loop for a sixth of a second each time.
"""

import atexit
import gc
import importlib
import sys
from types import ModuleType


def import_once(name: str) -> ModuleType:
    """Import a package, and let the garbage collector pass over what is there by then.

    Slow the first time: call it in a thread. Where much memory is let go of, `sweep` looks
    through everything.
    """
    new = name not in sys.modules
    module = importlib.import_module(name)
    if new:
        gc.freeze()
        # At the end some packages complain of what is still there: then all is looked through.
        atexit.register(gc.unfreeze)
    return module


def collect_garbage() -> None:
    """Collect all garbage, that which was passed over included; slow."""
    passed_over = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if passed_over:
        gc.freeze()
