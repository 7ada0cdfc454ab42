"""Google's image models: the Gemini family, successor of Imagen.

One API call returns one picture. Several pictures are requested at the same time, with seeds that
count up, and each is billed. No call is retried.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.base import Config, Event, Key, Lane, Model, Request, Sending
from backends.google.client import SdkClients, check_key, send
from backends.google.credentials import Credentials
from backends.google.errors import explain
from backends.google.request import Options, build_request
from backends.hosted import ConcurrentCalls, HostedBackend, require_available

if TYPE_CHECKING:
    import httpx2

_ANY = Model(id="google/any", label="any model", family="", source="any model")


class Google(HostedBackend):
    """Draws with Google's Gemini API, billed by the tokens that the API counts."""

    name = "google"
    label = "Google"
    Options = Options
    keys = (Key("GOOGLE_API_KEY", "https://aistudio.google.com/apikey"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._sdk = SdkClients()

    def credentials(self, model: Model) -> Credentials:
        """Return the checked address and key."""
        require_available(model)
        credentials = Credentials.from_config(self.config)
        credentials.check()
        return credentials

    async def check(self, server: str = "") -> str:
        """List one model, which costs nothing."""
        credentials = Credentials.from_config(self.config)
        credentials.check()
        pool = await self._clients.get()
        await self._sdk.get(pool)  # which says so if the SDK is missing
        try:
            await check_key(pool, credentials)
        except Exception as error:
            raise explain(error, credentials, _ANY) from None
        return f"{credentials.service} accepts the key."

    def lane(self, model: Model) -> Lane:
        """Return one lane for all models, since they share one account."""
        return Lane("google", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Request every picture at once, and yield each as it arrives."""
        credentials = self.credentials(model)
        api_request = await asyncio.to_thread(build_request, model, request)
        client = await self._sdk.get(await self._clients.get())
        yield Sending()
        calls = ConcurrentCalls(
            send(client, credentials, model, api_request, seed) for seed in api_request.seeds
        )
        async with aclosing(calls.pictures()) as pictures:
            async for picture in pictures:
                yield picture
        yield calls.receipt(api_request.honoured)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        self._sdk.discard()
        await super().aclose()
