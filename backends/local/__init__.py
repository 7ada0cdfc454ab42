"""Pipelines on this machine: any diffusers text-to-image model, and the miniatures."""

import logging

from backends.local.backend import Local as Local
from backends.local.backend import Miniature as Miniature

# peft imports bitsandbytes, which logs hints about optional kernels while it is imported: before
# `library_logs`, which imports the libraries that it silences. A level set by the user stays.
if not logging.getLogger("bitsandbytes").level:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
