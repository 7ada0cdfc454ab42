"""Stability AI's image API (REST, v2beta): Stable Image Ultra, Core, and Stable Diffusion 3.5.

One call draws one picture. Several are asked for at the same time, with seeds that count up. Each
costs a flat number of credits, of which the balance says the exact amount where this process did
nothing else with the account meanwhile. Nothing is sent twice by itself.

A control picture steers a service of its own, "stability/control": which of its two ways is taken
for which preprocessor stands in the catalogue (`controls`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from backends.base import (
    Backend,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Ready,
    Receipt,
    Request,
    Sending,
)
from backends.concurrency import as_completed, raise_if_incomplete
from backends.errors import BackendError
from backends.fit import record_actual
from backends.http.client import ClientPool
from backends.readiness import readiness, require_available
from backends.stability.billing import Jobs, balance, check_key, spent
from backends.stability.client import Result, send
from backends.stability.request import ApiRequest, Credentials, Options, build_request

if TYPE_CHECKING:
    import httpx2


class Stability(Backend):
    """Draws with Stability AI's API, billed in credits to the account of `STABILITY_API_KEY`."""

    name = "stability"
    label = "Stability AI"
    Options = Options
    keys = (Key("STABILITY_API_KEY", "https://platform.stability.ai/account/keys"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._jobs = Jobs()

    def ready(self, model: Model) -> Ready:
        """Say whether there is a key, and whether the model is still there."""
        return readiness(lambda: self._account(model))

    async def check(self, server: str = "") -> str:
        """Ask for the balance, which costs nothing."""
        return await check_key(await self._clients.get(), Credentials.from_config(self.config))

    def lane(self, model: Model) -> Lane:
        """One lane for all models: they draw on one account."""
        return Lane("stability", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Ask for every picture at once, and yield each as it comes."""
        account = self._account(model)
        call = await asyncio.to_thread(build_request, model, request)
        client = await self._clients.get()
        drawn: list[Result] = []
        failures: list[BackendError] = []
        with self._jobs.alone() as alone:
            before = await balance(client, account) if alone() else None
            yield Sending()
            calls = (send(client, account, model, call, seed) for seed in call.seeds)
            async with aclosing(as_completed(calls)) as results:
                async for result in results:
                    if isinstance(result, BackendError):
                        failures.append(result)
                    else:
                        drawn.append(result)
                        yield result.picture
            raise_if_incomplete(drawn, failures)
            # The pictures are there: a balance that can't be read any more is only a price unknown.
            after = None
            if before is not None and alone():
                with suppress(BackendError):
                    after = await balance(client, account)
            charged = spent(before, after) if alone() else None
        yield _receipt(call, drawn, failures, charged)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()

    def _account(self, model: Model) -> Credentials:
        require_available(model)
        return Credentials.from_config(self.config)


def _receipt(
    call: ApiRequest,
    drawn: Sequence[Result],
    failures: Sequence[BackendError],
    charged: Decimal | None,
) -> Receipt:
    return Receipt(
        honoured=record_actual(call.honoured, [one.picture for one in drawn], failures),
        charged=charged,
        generate=max(one.generate for one in drawn),
        download=max(one.download for one in drawn),
    )
