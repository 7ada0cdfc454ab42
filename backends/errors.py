"""The exceptions that a backend may raise; it raises no others.

    BackendError                      outcome     money
    ├── NotReady                      failed      nothing was sent
    │   ├── MissingKey
    │   ├── MissingPackage
    │   └── MissingWeights
    ├── BadInput                      failed      nothing was sent
    ├── WrongKey                      failed      nothing is charged
    ├── Forbidden                     failed      nothing is charged
    ├── NoCredit                      failed      nothing is charged
    ├── RetiredModel                  failed      nothing is charged
    ├── RateLimited (retry_after)     failed      nothing is charged
    ├── Unreachable                   failed      nothing was sent
    ├── ServiceFault                  failed      unknown
    │   └── MaybeBilled               unknown     may have been billed
    ├── OutOfMemory                   failed      nothing is charged
    ├── Refused                       refused     as the service says
    ├── TimedOut                      timed out   nothing was sent
    └── Unanswered                    unknown     may have been billed

The columns are the outcome of the job and what is known of its cost. Every message is a sentence
for the user: what happened, then what to do. It never contains a key, a header or a server's file
path.
"""

import copy
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Self


class Outcome(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class BackendError(Exception):
    """A job could not be finished; `str(error)` is the sentence for the user.

    `charged` is False if nothing was charged, True if the service states that it charged the job,
    None if that is unknown. `usage` holds the tokens that the service counted for it, as in
    `Receipt`: a refusal that used tokens costs them.
    """

    outcome: ClassVar[Outcome] = Outcome.FAILED
    charged: bool | None = False
    usage: Mapping[str, int] = MappingProxyType({})

    def __init__(self, message: str, *, charged: bool | None = None) -> None:
        super().__init__(message)
        if charged is not None:
            self.charged = charged

    def redacted(self, hide: Callable[[str], str]) -> Self:
        """Return a copy with the sentence passed through `hide` and all other attributes kept."""
        other = copy.copy(self)
        other.args = (hide(str(self)), *self.args[1:])
        return other


class NotReady(BackendError):
    """Something must be installed or set on this machine first."""


class MissingKey(NotReady):
    """The service needs a key and none is set."""


class MissingPackage(NotReady):
    """A Python package of an extra is not installed."""


class MissingWeights(NotReady):
    """The model's weights are neither on this machine nor reachable."""


class BadInput(BackendError):
    """The request is invalid, or the model does not support it."""


class WrongKey(BackendError):
    """The service does not accept the key."""


class Forbidden(BackendError):
    """The key is valid, but lacks the permission."""


class NoCredit(BackendError):
    """The account has no credit left."""


class RetiredModel(BackendError):
    """The service no longer has this model."""


class RateLimited(BackendError):
    """Too many requests; `retry_after` is the wait in seconds, None if the service states none."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(BackendError):
    """No connection could be made."""


class ServiceFault(BackendError):
    """The service failed, or sent an invalid response."""

    charged = None


class MaybeBilled(ServiceFault):
    """The service failed, and another one behind it may have drawn and billed."""

    outcome = Outcome.UNKNOWN


class OutOfMemory(BackendError):
    """The model does not fit into this machine's memory."""


class Refused(BackendError):
    """The service's moderation declined the prompt or the picture."""

    outcome = Outcome.REFUSED


class TimedOut(BackendError):
    """Time ran out before anything was sent."""

    outcome = Outcome.TIMED_OUT


class Unanswered(BackendError):
    """The request was sent and no complete response arrived: it may have been billed."""

    outcome = Outcome.UNKNOWN
    charged = None
