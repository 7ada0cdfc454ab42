"""Map exceptions of torch, diffusers and the Hub's client to Lineup's errors.

Exceptions are recognized by class names: `isinstance` would need the libraries imported, and the
missing package may be one of them.
"""

import errno
import logging
import re
from collections.abc import Iterator
from typing import Final

from backends.errors import (
    BackendError,
    Forbidden,
    MissingPackage,
    MissingWeights,
    NotReady,
    OutOfMemory,
    ServiceFault,
)

INSTALL: Final = 'Install the local extra: pip install -e ".[local]"'
PICKLED: Final = (
    "The weights of {label} are a pickle file, which can run code when it is opened, so it was "
    "not opened. Use a version in safetensors."
)
_UNREACHABLE: Final = frozenset(
    {
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "ConnectionError",
        "HfHubHTTPError",
        "NetworkError",
        "TransportError",
        "TimeoutException",
    }
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DAMAGED: Final = ("deserializing header", "SafetensorError", "MetadataIncompleteBuffer")
_UNFITTING: Final = ("expected shape", "size mismatch", "ignore_mismatched_sizes")
_LOST: Final = re.compile(
    r"(?i)\b(cuda|hip|mps|xpu) (backend )?error|device.*lost|device-side assert"
)
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"]+){2,}")


def explain(error: Exception, label: str) -> BackendError:
    """Return Lineup's error for `error`, which ended a run of the model called `label`."""
    if isinstance(error, BackendError):
        return error
    chain = list(_chain(error))
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    if isinstance(error, ImportError):
        return MissingPackage(f"{label} needs packages that are not installed. {INSTALL}")
    if ran_out_of_memory(error):
        return OutOfMemory(
            f"{label} does not fit into this machine's memory, not even alone. "
            "Choose a smaller size, fewer pictures or a smaller model."
        )
    if any(isinstance(each, OSError) and each.errno in _FULL for each in chain):
        return MissingWeights(
            f"The disk is full, so {label} could not be downloaded. "
            "Free some space and run it again: what is already there is kept."
        )
    if lost_its_device(error):
        return ServiceFault(
            f"The graphics card stopped answering while {label} was drawn. Start Lineup again; "
            "if that happens often, update the card's driver, or set LINEUP_DEVICE to cpu.",
            charged=False,
        )
    if "TorchDynamoException" in kinds:
        return NotReady(
            f"{label} could not be compiled here: torch.compile needs a C++ compiler, and on a GPU "
            "Triton. Install them, or switch Compile off."
        )
    if "GatedRepoError" in kinds:
        return Forbidden(
            f"{label} is behind a licence on the Hub. Accept it on the model's page, then log in "
            "with: hf auth login"
        )
    if "RepositoryNotFoundError" in kinds:
        return MissingWeights(
            f"The Hub knows no public model under the id of {label}. Check the id, or log in with "
            "'hf auth login' if it is private."
        )
    if kinds & _UNREACHABLE:
        return MissingWeights(
            f"The weights of {label} are neither on this machine nor reachable. "
            "Connect to the internet, or choose a model that is already here."
        )
    if "necessary `safetensors` weights" in " ".join(map(str, chain)):
        return NotReady(PICKLED.format(label=label))
    if any(mark in f"{type(each).__name__} {each}" for each in chain for mark in _DAMAGED):
        return MissingWeights(
            f"A weights file of {label} is damaged or cut short. Delete it and download it again."
        )
    if any(mark in str(each) for each in chain for mark in _UNFITTING):
        return MissingWeights(
            f"The weights of {label} have other sizes than its settings say, so they are another "
            "model's. Download it again."
        )
    logging.getLogger(__name__).error("A run of %s failed", label, exc_info=error)
    first = _PATH.sub("(a path)", (str(error).strip() or type(error).__name__).splitlines()[0])
    return ServiceFault(
        f"{label} stopped with an error of its libraries: {first[:200]}. The log has the details.",
        charged=False,
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, as reported by CUDA, MPS, the CPU's allocator or Python."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in kinds:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def lost_its_device(error: BaseException) -> bool:
    """Tell whether the device is lost: after such an error CUDA refuses every further call."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, newest first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
