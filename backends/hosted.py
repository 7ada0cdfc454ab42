"""Share what backends over HTTP have in common: connections, readiness, concurrent API calls.

A hosted provider is a subclass of `HostedBackend` that reads its `credentials`, builds an API
request, sends it, parses the response and maps the service's errors. An API that returns one
picture per call is called several times at once with `ConcurrentCalls`.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends.base import (
    Applied,
    Backend,
    Config,
    Model,
    Picture,
    Readiness,
    Ready,
    Receipt,
    State,
)
from backends.concurrency import as_completed
from backends.errors import BackendError, MissingKey, MissingPackage, RetiredModel
from backends.fit import record_actual
from backends.http.client import ClientPool

if TYPE_CHECKING:
    import httpx2


class HostedBackend(Backend):
    """A backend that is reached over HTTP.

    `transport` replaces the network in tests. A subclass that holds more than connections
    overrides `aclose` and calls it here too.
    """

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)

    @abstractmethod
    def credentials(self, model: Model) -> object:
        """Return the address and the key that a job with `model` uses.

        Reads the settings anew for each job, without a network call. A subclass whose credentials
        need a heavy import overrides `ready`, which must not wait for one.

        Raises:
            BackendError: no job with `model` could be sent; the sentence says why.
        """

    def ready(self, model: Model) -> Ready:
        """Return whether the model is available and the settings are complete."""
        return readiness(lambda: self.credentials(model))

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The pictures that one API call returned, and why others are missing (`losses`).

    `usage` counts the billed tokens by kind, empty where the service does not count them.
    `queued`, `generate` and `download` are seconds, None where they are unknown.
    """

    pictures: tuple[Picture, ...]
    losses: tuple[BackendError, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    queued: float | None = None
    generate: float | None = None
    download: float | None = None


class ConcurrentCalls:
    """The API calls of one job, made at the same time.

    `pictures` makes the calls; afterwards `results` and `failures` hold their outcomes and
    `receipt` sums them up:

        calls = ConcurrentCalls(send(client, request, seed) for seed in seeds)
        async with aclosing(calls.pictures()) as pictures:
            async for picture in pictures:
                yield picture
        yield calls.receipt(request.honoured)

    The job succeeds with any picture at all: what was paid for is kept, and `honoured` says how
    many are missing and why. `prepaid` says that the pictures were paid for before these calls,
    which only fetch them.
    """

    def __init__(
        self, calls: Iterable[Coroutine[Any, Any, Result]], *, prepaid: bool = False
    ) -> None:
        self._calls = calls
        self._prepaid = prepaid
        self.results: list[Result] = []
        self.failures: list[BackendError] = []

    async def pictures(self) -> AsyncGenerator[Picture, None]:
        """Start all calls; yield each picture as soon as its call returns.

        Closing the generator cancels the calls that are still running.

        Raises:
            BackendError: no call returned a picture; of several errors, one that may be billed.
        """
        async with aclosing(as_completed(self._calls)) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, BackendError):
                    self.failures.append(outcome)
                    continue
                self.results.append(outcome)
                self.failures += outcome.losses
                for picture in outcome.pictures:
                    yield picture
        if self.failures and not any(result.pictures for result in self.results):
            billed = [failure for failure in self.failures if failure.charged is not False]
            raise (billed or self.failures)[0]

    def receipt(self, honoured: Mapping[str, Applied]) -> Receipt:
        """Return the job's receipt: actual size and count, total usage, the slowest call's times.

        `honoured` is what the API request promised for each input.
        """
        pictures = [picture for result in self.results for picture in result.pictures]
        return Receipt(
            honoured=record_actual(honoured, pictures, self.failures),
            usage=_total_usage((*self.results, *(each for each in self.failures if each.usage))),
            may_owe_more=not self._prepaid
            and any(each.charged is not False and not each.usage for each in self.failures),
            queued=_longest(result.queued for result in self.results),
            generate=_longest(result.generate for result in self.results),
            download=_longest(result.download for result in self.results),
        )


def _total_usage(results: Iterable[Result | BackendError]) -> dict[str, int]:
    """Add up the tokens by kind; empty if any result does not count them."""
    total: Counter[str] = Counter()
    for result in results:
        if not result.usage:
            return {}
        total.update(result.usage)
    return dict(total)


def _longest(times: Iterable[float | None]) -> float | None:
    return max((seconds for seconds in times if seconds is not None), default=None)


def require_available(model: Model) -> None:
    """Check that the catalogue does not list `model` as retired.

    Raises:
        RetiredModel: it was shut down; the sentence names the date and the successor.
    """
    status = model.status
    if status.state is not State.RETIRED:
        return
    when = f" on {status.date.day} {status.date:%B %Y}" if status.date else ""
    then = f" Use {status.successor} instead." if status.successor else ""
    raise RetiredModel(f"{model.label} was shut down{when}.{then}")


def readiness(check: Callable[[], object]) -> Ready:
    """Return the readiness that follows from `check`, which raises if a job could not be sent."""
    try:
        check()
    except MissingKey as error:
        return Ready(Readiness.NEEDS_KEY, str(error))
    except MissingPackage as error:
        return Ready(Readiness.NEEDS_PACKAGE, str(error))
    except BackendError as error:
        return Ready(Readiness.UNAVAILABLE, str(error))
    return Ready(Readiness.READY)
