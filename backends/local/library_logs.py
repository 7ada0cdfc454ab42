"""Silence progress bars and developer warnings of diffusers and transformers."""

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
"""Environment variables that restore the messages, with the logging module of each library."""


def silence_libraries() -> None:
    """Disable progress bars and deprecation warnings; errors are still logged."""
    for variable, library in LIBRARIES.items():
        library.disable_progress_bar()
        if variable not in os.environ:
            library.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers|transformers")


@contextmanager
def without_error_logs() -> Generator[None]:
    """Suppress errors too, for calls whose reported errors are harmless."""
    before = [each.get_verbosity() for each in LIBRARIES.values()]
    try:
        for each in LIBRARIES.values():
            each.set_verbosity(logging.CRITICAL)
        yield
    finally:
        for each, level in zip(LIBRARIES.values(), before, strict=True):
            each.set_verbosity(level)
