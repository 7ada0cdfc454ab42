"""Whether models can run now, what a picture is expected to cost, and how long it usually takes.

Holds one backend for each provider in use, created at its first use.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from functools import partial

from backends.base import (
    Backend,
    Basis,
    Config,
    Model,
    Readiness,
    Ready,
    Request,
    State,
    Value,
)
from backends.errors import BackendError, ServiceFault, TimedOut, Unanswered
from backends.options import description
from compare import pricing
from compare.catalogue.catalogue import Catalogue, status_on, status_sentence
from compare.records import Cost, Payer, RunSpec
from compare.redaction import clean_text, traceback_text
from compare.settings import Settings
from compare.store.store import Store
from compare.visitor_keys import typed_key

log = logging.getLogger(__name__)

MAX_CHECK_SECONDS = 20.0
"""Time limit for a service to say whether it accepts a key."""
MAX_VALUES_SECONDS = 8.0
"""Time limit for a backend to say which values its options know."""
MAX_VALUES = 500
"""Values of one option that are offered."""
LENT = "Whoever runs this Lineup lends a key for it, as far as there is one."
"""The answer to a visitor who asks about a key that is not their own."""


class Availability:
    """Answer questions about models; one instance for each process and event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        create: Callable[[str, Config], Backend],
        settings: Settings,
        store: Store,
        *,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._catalogue = catalogue
        self._create = create
        self._settings = settings
        self._store = store
        self._today = today
        self._backends: dict[str, Backend] = {}
        self._seconds: dict[str, dict[int, float]] = {}

    async def open(self) -> None:
        """Read from the store how long each model usually takes."""
        self._seconds = await self._store.medians()

    async def aclose(self) -> None:
        """Close all backends."""
        for backend in self._backends.values():
            await backend.aclose()
        self._backends.clear()

    def model(self, id: str) -> Model:
        """Return a model with its status as of today.

        Raises:
            UnknownModel: no model has this id.
        """
        model = self._catalogue.find(id)
        return replace(model, status=status_on(model, self._today()))

    def ready(self, model: Model) -> Ready:
        """Return whether `model` can run now, and if not, what is missing."""
        today = self._today()
        model = replace(model, status=status_on(model, today))
        if model.status.state is State.NO_API:
            return Ready(Readiness.UNAVAILABLE, status_sentence(model, today))
        try:
            ready = self.backend(model).ready(model)
            return replace(ready, sentence=self._settings.hide(ready.sentence))
        except (BackendError, LookupError, ImportError) as error:
            return Ready(Readiness.UNAVAILABLE, clean_text(error, self._settings.hide))

    def estimate(self, model: Model, request: Request) -> Cost:
        """Return the expected cost of `request` on one model."""
        rate, seconds = self._settings.hourly_rate, self.typical_seconds(model.id, request.count)
        with suppress(BackendError, LookupError, ImportError):
            model = replace(model, price=self.backend(model).price(model))
        return pricing.estimate(model, request, hourly_rate=rate, seconds=seconds)

    def estimates(self, request: Request, model_ids: Sequence[str]) -> dict[str, Cost]:
        """Return the expected cost of `request` on each model, by the model's id."""
        return {id: self.estimate(self.model(id), request) for id in model_ids}

    def expected(self, spec: RunSpec, model_ids: Sequence[str]) -> list[Cost]:
        """Return the expected cost of each job of a run, first steps before second steps."""
        costs = [self.estimate(self.model(id), spec.request) for id in model_ids]
        if (second := spec.second_step) is not None:
            costs += [self.estimate(self.model(second.model), spec.second_request())] * len(costs)
        return costs

    def payer(self, model: Model) -> Payer:
        """Return who pays for a job of `model` that is started now.

        At a public address that is the visitor, if the key that the job uses was typed by them, or
        if it is a subscription without a key, which they use by hand. On this machine alone typed
        keys are the owner's too.
        """
        settings = self._settings
        if not settings.public:
            return Payer.OWNER
        keys = self._keys(self.backend(model), model.server)
        own = model.price.basis is Basis.SUBSCRIPTION and not any(map(settings.value, keys))
        return Payer.VISITOR if own or any(map(typed_key, keys)) else Payer.OWNER

    def own_key_options(
        self, model: Model, options: Mapping[str, Mapping[str, Value]]
    ) -> list[str]:
        """Return the labels of those options of a request that are for an own key only."""
        kind, given = type(self.backend(model)).Options, options.get(model.backend, {})
        described = ((each, description(each)) for each in (fields(kind) if kind else ()))
        return [about.label for each, about in described if about.own_key and given.get(each.name)]

    def _has_typed(self, backend: Backend, server: str) -> bool:
        """Return whether the visitor has typed the key of a backend's service."""
        return any(map(typed_key, self._keys(backend, server)))

    def _keys(self, backend: Backend, server: str) -> list[str]:
        """Return the setting that holds the key of a backend's service, none if it needs none."""
        services = type(backend).services(self._settings.config())
        served = (each.keys for each in services if each.server == server)
        return [keys[0].setting for keys in served if keys]

    def typical_seconds(self, model_id: str, count: int = 1) -> float | None:
        """Return how long the model usually takes here to draw `count` pictures, None if unknown.

        If that number has not been measured, it follows from the nearest one that has: one machine
        draws pictures one after the other, a service all at the same time.
        """
        measured = self._seconds.get(model_id)
        if not measured:
            return None
        nearest = min(measured, key=lambda drawn: abs(drawn - count))
        basis = self._catalogue.find(model_id).price.basis
        in_turn = basis in (Basis.FREE, Basis.HARDWARE)
        return measured[nearest] * (count / nearest if in_turn else 1)

    def record_seconds(self, model_id: str, seconds: float, count: int = 1) -> None:
        """Take a measured time as typical for so many pictures of a model if it has none yet."""
        self._seconds.setdefault(model_id, {}).setdefault(count, seconds)

    async def check_key(self, backend: str, server: str = "") -> str:
        """Return a service's answer to the key; "" where asking is not free.

        Visitors learn nothing of the account behind a key that is lent to them.

        Raises:
            BackendError: the service does not accept the key, no key is set, or the service
                does not answer.
        """
        service = self._backend(backend)
        if self._settings.public and not self._has_typed(service, server):
            return LENT
        try:
            async with asyncio.timeout(MAX_CHECK_SECONDS):
                return clean_text(await service.check(server), self._settings.hide)
        except (Unanswered, TimeoutError) as error:
            name = server or service.label
            raise TimedOut(f"{name} does not answer. Nothing was spent: try again.") from error
        except BackendError as error:
            raise error.redacted(partial(clean_text, hide=self._settings.hide)) from error
        except Exception as error:  # of whatever the service has sent
            text = traceback_text(error, self._settings.hide)
            log.error("The check of a key of %s failed:\n%s", backend, text)
            raise ServiceFault(
                f"{server or service.label} gave an answer that makes no sense. Nothing was spent."
            ) from error

    async def option_values(self, backend: str) -> Mapping[str, Sequence[str]]:
        """Return the values that a backend knows for its options; none if it does not answer.

        At a public address what the owner's servers and folders hold is not told.
        """
        if self._settings.public:
            return {}
        try:
            async with asyncio.timeout(MAX_VALUES_SECONDS):
                found = await self._backend(backend).option_values()
        except Exception as error:  # a list that is missing must not keep anyone from typing
            log.info("%s does not tell its options: %s", backend, self._settings.hide(str(error)))
            return {}
        return {
            option: [clean_text(value, self._settings.hide) for value in values[:MAX_VALUES]]
            for option, values in found.items()
        }

    def warm(self, model_ids: Sequence[str]) -> None:
        """Let the backends of these models load slow things in the background."""
        for id in {self.model(id).backend: id for id in model_ids}.values():
            with suppress(BackendError, LookupError, ImportError):
                self.backend(self.model(id)).warm()

    def backend(self, model: Model) -> Backend:
        """Return the backend of `model`."""
        return self._backend(model.backend)

    def _backend(self, name: str) -> Backend:
        if name not in self._backends:
            self._backends[name] = self._create(name, self._settings.config())
        return self._backends[name]
