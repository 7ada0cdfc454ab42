"""A backend at its small server, as the contract and the fault matrix use it.

A new backend brings one file under `stands/` with a class `Here`; both test files then run over it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Self

from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    TimedOut,
    Unanswered,
    Unreachable,
    WrongKey,
)

WAIT = 37.0
"""Seconds that `Fault.RATE_LIMITED_FOR` names: longer than any backend waits by itself."""


class Fault(StrEnum):
    """What can happen to the one request that may be billed."""

    WRONG_KEY = "wrong key"
    NO_CREDIT = "no credit"
    FORBIDDEN = "forbidden"
    MODERATED_PROMPT = "moderated prompt"
    MODERATED_PICTURE = "moderated picture"
    RETIRED_MODEL = "unknown or retired model"
    RATE_LIMITED = "429 without Retry-After"
    RATE_LIMITED_FOR = "429 with Retry-After"
    INTERNAL = "500"
    OVERLOADED = "503"
    REFUSED_CONNECTION = "connect refused"
    TIMEOUT_BEFORE = "timeout before sending"
    TIMEOUT_AFTER = "timeout after sending"
    CUT = "connection cut in mid-body"
    TRUNCATED = "truncated JSON"
    HTML = "HTML instead of JSON"
    MISSING_FIELD = "a missing field"
    EMPTY_PICTURE = "an empty picture"
    CORRUPT_PICTURE = "a corrupt picture"
    HUGE_PICTURE = "a picture of 100 megapixels"
    DRIP = "an answer that drips one byte a second"


_NO_SENSE = (ServiceFault, Unanswered)

EXPECTED: Mapping[Fault, tuple[type[BackendError], ...]] = {
    Fault.WRONG_KEY: (WrongKey,),
    Fault.NO_CREDIT: (NoCredit,),
    Fault.FORBIDDEN: (Forbidden,),
    Fault.MODERATED_PROMPT: (Refused,),
    Fault.MODERATED_PICTURE: (Refused,),
    Fault.RETIRED_MODEL: (RetiredModel, BadInput),
    Fault.RATE_LIMITED: (RateLimited,),
    Fault.RATE_LIMITED_FOR: (RateLimited,),
    Fault.INTERNAL: (ServiceFault,),
    Fault.OVERLOADED: (ServiceFault,),
    Fault.REFUSED_CONNECTION: (Unreachable,),
    Fault.TIMEOUT_BEFORE: (TimedOut, Unreachable),
    Fault.TIMEOUT_AFTER: (Unanswered,),
    Fault.CUT: (Unanswered,),
    Fault.TRUNCATED: _NO_SENSE,
    Fault.HTML: _NO_SENSE,
    Fault.MISSING_FIELD: _NO_SENSE,
    Fault.EMPTY_PICTURE: _NO_SENSE,
    Fault.CORRUPT_PICTURE: _NO_SENSE,
    Fault.HUGE_PICTURE: _NO_SENSE,
    Fault.DRIP: (Unanswered,),
}
"""The errors that a card may show for each fault. A server of one's own bills nothing, and may
say `Unanswered` with `charged=False` where a paid service leaves the charge unknown."""


class Stand(ABC):
    """Serves while it is entered. `name` is the backend's in the registry, `model` an id of the
    catalogue; `impossible` gives, for each fault that this system cannot have, the reason.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    secret: ClassVar[str] = ""
    """The key, token or password of `settings`: it must show up nowhere."""
    impossible: ClassVar[Mapping[Fault, str]] = {}

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """The environment that points the backend at this server, key included."""

    @abstractmethod
    def meet(self, fault: Fault | None) -> None:
        """Let requests meet this from now on; None means that all goes well, at once.

        The tests shorten `backends.http.ANSWER_SECONDS` and `CONNECT_SECONDS` to a fraction of a
        second first, so read them when a client is made, and never copy them.
        """

    @abstractmethod
    def slow(self, seconds: float) -> None:
        """Let every job take this long from now on."""

    @property
    @abstractmethod
    def sent(self) -> int:
        """How many requests that may be billed have arrived."""

    @abstractmethod
    def stopped(self, seconds: float = 5.0) -> bool | None:
        """Whether the server saw its last job stopped (or its client leave) in this time.

        None where the system offers no way to notice.
        """
