"""A harness: one backend beside its small server, and what the server is told to do to it.

The contract and the fault matrix run over every `tests/backends/*/harness.py`, so that a new
backend meets all of it by adding one file there.
"""

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from backends.base import Backend, Config, Event, Model, Request
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
from backends.registry import create


class Fault(StrEnum):
    """What may go wrong with a system."""

    WRONG_KEY = "wrong key"
    NO_CREDIT = "no credit"
    FORBIDDEN = "forbidden"
    MODERATED_PROMPT = "moderated prompt"
    MODERATED_PICTURE = "moderated picture"
    RETIRED_MODEL = "unknown or retired model"
    BUSY_FOR = "429 with Retry-After"
    BUSY = "429 without Retry-After"
    ERROR_500 = "500"
    ERROR_503 = "503"
    REFUSED_CONNECTION = "connection refused"
    NO_CONNECTION = "timeout before sending"
    NO_ANSWER = "timeout after sending"
    CUT = "connection cut in mid-body"
    TRUNCATED = "truncated JSON"
    HTML = "HTML instead of JSON"
    MISSING_FIELD = "a missing field"
    EMPTY_PICTURE = "an empty picture"
    CORRUPT_PICTURE = "a corrupt picture"
    HUGE_PICTURE = "a picture of 100 megapixels"
    DRIP = "one byte a second"


EXPECTED: Mapping[Fault, tuple[type[BackendError], ...]] = {
    Fault.WRONG_KEY: (WrongKey,),
    Fault.NO_CREDIT: (NoCredit,),
    Fault.FORBIDDEN: (Forbidden,),
    Fault.MODERATED_PROMPT: (Refused,),
    Fault.MODERATED_PICTURE: (Refused,),
    Fault.RETIRED_MODEL: (RetiredModel, BadInput),
    Fault.BUSY_FOR: (RateLimited,),
    Fault.BUSY: (RateLimited,),
    Fault.ERROR_500: (ServiceFault,),
    Fault.ERROR_503: (ServiceFault,),
    Fault.REFUSED_CONNECTION: (Unreachable,),
    Fault.NO_CONNECTION: (TimedOut,),
    Fault.NO_ANSWER: (Unanswered,),
    Fault.CUT: (Unanswered,),
    Fault.TRUNCATED: (ServiceFault, Unanswered),
    Fault.HTML: (ServiceFault, Forbidden),
    Fault.MISSING_FIELD: (ServiceFault,),
    Fault.EMPTY_PICTURE: (ServiceFault,),
    Fault.CORRUPT_PICTURE: (ServiceFault,),
    Fault.HUGE_PICTURE: (ServiceFault,),
    Fault.DRIP: (Unanswered,),
}
"""Which errors a fault may become; a backend need not know more than its API tells it."""

RETRY_AFTER = 60.0
"""Seconds that BUSY_FOR names: longer than any backend waits by itself."""


class Harness(ABC):
    """One backend's small server; use it with `with`.

    `server` is that server, for tests that know it by itself.
    `impossible` says for each fault that the system's protocol cannot show why that is so.
    `secret` is the key in `settings`, which must never be seen again. `billable` counts the
    requests that would have cost money or started work. `stopped` waits a moment and says
    whether the server has seen that the client no longer wants its job.
    """

    server: Any
    backend: ClassVar[str]
    model: ClassVar[Model]
    request: ClassVar[Request] = Request(prompt="a lighthouse", width=64, height=64, seed=7)
    secret: ClassVar[str] = ""
    impossible: ClassVar[Mapping[Fault, str]] = {}

    @abstractmethod
    def __enter__(self) -> Self:
        """Start the server."""

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Scheme, host and port of the server."""

    @abstractmethod
    def settings(self, origin: str) -> dict[str, str]:
        """The settings that a user would make for a server at `origin`, key included."""

    @abstractmethod
    def meet(self, fault: Fault) -> None:
        """From now on every job meets `fault`."""

    @abstractmethod
    def slow(self, seconds: float) -> None:
        """From now on every job takes so long, and succeeds."""

    @property
    @abstractmethod
    def billable(self) -> int:
        """How many requests came that cost money or start work."""

    def asked(self, seconds: float = 30.0) -> bool:
        """Wait for the first of those requests; False when none comes."""
        end = time.monotonic() + seconds
        while not self.billable and time.monotonic() < end:
            time.sleep(0.02)
        return self.billable > 0

    @abstractmethod
    def stopped(self) -> bool:
        """Whether the last job was given up before its end, as the server sees it."""

    def create(self, home: Path, *, origin: str | None = None, **settings: str) -> Backend:
        """The backend, pointed at the server (or at `origin`)."""
        values = {**self.settings(origin or self.origin), **settings}
        return create(self.backend, Config(value=values.get, home=home))

    async def draw(self, backend: Backend, request: Request | None = None) -> list[Event]:
        """All events of one job."""
        try:
            return [event async for event in backend.generate(self.model, request or self.request)]
        finally:
            await backend.aclose()


def all_harnesses() -> dict[str, type[Harness]]:
    """Every harness by the name of its folder."""
    here = Path(__file__).parent
    names = sorted(file.parent.name for file in here.glob("*/harness.py"))
    for name in names:
        importlib.import_module(f"tests.backends.{name}.harness")
    return {kind.__module__.split(".")[-2]: kind for kind in Harness.__subclasses__()}
