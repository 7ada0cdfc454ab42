"""Hugging Face Inference Providers: seven services behind one token and one bill.

`AsyncInferenceClient.text_to_image` returns a decoded Pillow image, not the bytes that the provider
sent, and it looks up the provider by a call that blocks the event loop. What is useful is how it
translates a request for each provider. So the package prepares the request by
`get_provider_helper(...).prepare_request(...)`, which `text_to_image` itself uses, and this backend
sends it, over connections with Lineup's limits, and cancels it with the job. With an init image the
translation is that of `image_to_image`, which five of the seven providers have.

One API call returns one picture. Several pictures are requested at the same time, with seeds that
count up, and each is billed. No call is retried.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.base import Config, Event, Key, Lane, Model, Request, Sending
from backends.hosted import ConcurrentCalls, HostedBackend, require_available
from backends.huggingface.client import prepare, send
from backends.huggingface.credentials import Credentials, check_key
from backends.huggingface.errors import Service, explain
from backends.huggingface.providers import Directory
from backends.huggingface.request import NAMES, Options, build_request, for_provider

if TYPE_CHECKING:
    import httpx2


class HuggingFace(HostedBackend):
    """Draws with the providers of Hugging Face, billed to the account of `HF_TOKEN`."""

    name = "huggingface"
    label = "Hugging Face"
    Options = Options
    keys = (Key("HF_TOKEN", "https://huggingface.co/settings/tokens"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._directory = Directory()

    def credentials(self, model: Model) -> Credentials:
        """Return the checked addresses and token."""
        require_available(model)
        return Credentials.from_config(self.config)

    async def check(self, server: str = "") -> str:
        """Ask the Hub for the token's owner, which costs nothing."""
        return await check_key(await self._clients.get(), Credentials.from_config(self.config))

    def lane(self, model: Model) -> Lane:
        """Return one lane for all models, since they share one account."""
        return Lane("huggingface", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Find a provider, request every picture at once, and yield each as it arrives."""
        credentials = self.credentials(model)
        api_request = await asyncio.to_thread(build_request, model, request)
        client = await self._clients.get()
        mapping = await self._directory.find(client, credentials, model, api_request)
        provider = mapping.provider
        service = Service(name=NAMES[provider], model=model.source, token=credentials.token)
        api_request = for_provider(api_request, provider, mapping.provider_id)
        try:
            prepared = await asyncio.to_thread(prepare, mapping, credentials, api_request)
        except Exception as error:
            raise explain(error, service) from error
        yield Sending()
        root = f"{credentials.router}/{provider}"
        calls = ConcurrentCalls(
            send(self._clients, each, provider, root, service) for each in prepared
        )
        async with aclosing(calls.pictures()) as pictures:
            async for picture in pictures:
                yield picture
        yield calls.receipt(api_request.honoured)
