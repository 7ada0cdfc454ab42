"""Stability AI's image API (REST, v2beta): Stable Image Ultra, Core, and Stable Diffusion 3.5.

One API call returns one picture. Several pictures are requested at the same time, with seeds that
count up. Each costs a flat number of credits; the difference of two balances is the exact amount if
this process did nothing else with the account in between. No call is retried.

A control picture needs a separate model, "stability/control": the catalogue (`controls`) maps each
preprocessor to one of the API's two control endpoints.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import Config, Event, Key, Lane, Model, Request, Sending
from backends.errors import BackendError
from backends.hosted import ConcurrentCalls, HostedBackend, require_available
from backends.stability.billing import Jobs, balance, check_key, spent
from backends.stability.client import send
from backends.stability.credentials import Credentials
from backends.stability.request import Options, build_request

if TYPE_CHECKING:
    import httpx2


class Stability(HostedBackend):
    """Draws with Stability AI's API, billed in credits to the account of `STABILITY_API_KEY`."""

    name = "stability"
    label = "Stability AI"
    Options = Options
    keys = (Key("STABILITY_API_KEY", "https://platform.stability.ai/account/keys"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._jobs = Jobs()

    def credentials(self, model: Model) -> Credentials:
        """Return the checked address and key."""
        require_available(model)
        return Credentials.from_config(self.config)

    async def check(self, server: str = "") -> str:
        """Query the balance, which costs nothing."""
        return await check_key(await self._clients.get(), Credentials.from_config(self.config))

    def lane(self, model: Model) -> Lane:
        """Return one lane for all models, since they share one account."""
        return Lane("stability", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Request every picture at once, and yield each as it arrives."""
        credentials = self.credentials(model)
        api_request = await asyncio.to_thread(build_request, model, request)
        client = await self._clients.get()
        calls = ConcurrentCalls(
            send(client, credentials, model, api_request, seed) for seed in api_request.seeds
        )
        with self._jobs.alone() as alone:
            before = await balance(client, credentials) if alone() else None
            yield Sending()
            async with aclosing(calls.pictures()) as pictures:
                async for picture in pictures:
                    yield picture
            # The pictures were delivered: without a second balance only the exact price is unknown.
            after = None
            if before is not None and alone():
                with suppress(BackendError):
                    after = await balance(client, credentials)
            charged = spent(before, after) if alone() else None
        yield replace(calls.receipt(api_request.honoured), charged=charged)
