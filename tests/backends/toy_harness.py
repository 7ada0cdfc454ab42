"""The harness of the toy backend of backends/README.md: no server, it is watched itself."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Self

from backends.base import Backend, Config, Event, Lane, Model, Ready, Request
from backends.registry import create
from compare.catalogue.catalogue import load
from tests.backends.harness import Fault, Harness


class SquaresHarness(Harness):
    """The backend `squares`; nothing can go wrong with it."""

    backend = "squares"
    model = load().find("squares/one")
    impossible = dict.fromkeys(Fault, "It draws on this machine, without anybody's help.")

    def __enter__(self) -> Self:
        """Start counting."""
        self.begun = self.ended = 0
        return self

    def __exit__(self, *how: object) -> None:
        """There is nothing to stop."""

    @property
    def origin(self) -> str:
        """Nowhere."""
        return ""

    def settings(self, origin: str) -> dict[str, str]:
        """It needs none."""
        return {}

    def meet(self, fault: Fault) -> None:
        """There is nothing to meet."""

    def slow(self, seconds: float) -> None:
        """Take so long for every step."""
        self.request = replace(self.request, options={"squares": {"pause": seconds}})  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def billable(self) -> int:
        """How many jobs went on after they had said that they send."""
        return self.begun

    def stopped(self) -> bool:
        """Whether every job that was begun has ended."""
        end = time.monotonic() + 20
        while self.ended < self.begun and time.monotonic() < end:
            time.sleep(0.01)
        return self.ended == self.begun

    def create(self, home: Path, *, origin: str | None = None, **settings: str) -> Backend:
        """The backend as it is, with somebody who counts."""
        return _Watched(Config(value=settings.get, home=home), self)


class _Watched(Backend):
    """The backend as it is, with somebody who counts."""

    name = "squares"
    label = "Squares"

    def __init__(self, config: Config, harness: "SquaresHarness") -> None:
        super().__init__(config)
        self._backend = create("squares", config)
        self._harness = harness

    def ready(self, model: Model) -> Ready:
        return self._backend.ready(model)

    def lane(self, model: Model) -> Lane:
        return self._backend.lane(model)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(self._backend.generate(model, request)) as events:
                yield await anext(events)
                self._harness.begun += 1
                async for event in events:
                    yield event
        finally:
            self._harness.ended = self._harness.begun
