"""What diffusers and transformers say to those who write code stays off a user's terminal."""

import logging
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from diffusers.utils import logging as diffusers_logging

# transformers fills its top level lazily, which type checkers take for private.
from transformers.utils import logging as transformers_logging

LIBRARIES: Final[dict[str, Any]] = {
    "DIFFUSERS_VERBOSITY": diffusers_logging,
    "TRANSFORMERS_VERBOSITY": transformers_logging,
}
"""The libraries' own variables, by which one still hears all of it, and their loggers."""


def silence_libraries() -> None:
    """No progress bars, no notes on what will be gone in their next release; errors are told."""
    for variable, library in LIBRARIES.items():
        library.disable_progress_bar()
        if variable not in os.environ:
            library.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers|transformers")


@contextmanager
def silent() -> Generator[None]:
    """Not even errors, while what is reported alarms for nothing."""
    before = [each.get_verbosity() for each in LIBRARIES.values()]
    try:
        for each in LIBRARIES.values():
            each.set_verbosity(logging.CRITICAL)
        yield
    finally:
        for each, level in zip(LIBRARIES.values(), before, strict=True):
            each.set_verbosity(level)
