"""Hugging Face Inference Providers: seven services behind one token and one bill.

`AsyncInferenceClient.text_to_image` gives back a Pillow image, decoded from the bytes that came,
so the picture as it was sent cannot be had from it; and it looks the provider up by a call that
blocks the event loop. What is worth having is how it speaks to each provider. So the package
prepares the request (`get_provider_helper(...).prepare_request(...)`, which `text_to_image`
itself uses), and it is sent here, over connections with Lineup's limits, and stopped with the job.
With a start picture it is `image_to_image`'s, which five of the seven have.

One call draws one picture. Several are asked for at the same time, with seeds that count up, and
each is billed. Nothing is sent twice by itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
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
from backends.huggingface.client import PreparedRequest, Result, prepare, send
from backends.huggingface.credentials import Credentials, check_key
from backends.huggingface.errors import Service, explain
from backends.huggingface.providers import Directory
from backends.huggingface.request import NAMES, ApiRequest, Options, addressed, build_request
from backends.readiness import readiness, require_available

if TYPE_CHECKING:
    import httpx2


class HuggingFace(Backend):
    """Draws with the providers of Hugging Face, billed to the account of `HF_TOKEN`."""

    name = "huggingface"
    label = "Hugging Face"
    Options = Options
    keys = (Key("HF_TOKEN", "https://huggingface.co/settings/tokens"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._directory = Directory()

    def ready(self, model: Model) -> Ready:
        """Say whether there is a token, and whether the model is still there."""
        return readiness(lambda: self._account(model))

    async def check(self, server: str = "") -> str:
        """Ask the Hub whose token it is, which costs nothing."""
        return await check_key(await self._clients.get(), Credentials.from_config(self.config))

    def lane(self, model: Model) -> Lane:
        """One lane for all models: they draw on one account."""
        return Lane("huggingface", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Find who draws `model`, ask for every picture at once, and yield each as it comes."""
        account = self._account(model)
        call = await asyncio.to_thread(build_request, model, request)
        client = await self._clients.get()
        mapping = await self._directory.find(client, account, model, call)
        provider = mapping.provider
        service = Service(name=NAMES[provider], model=model.source, token=account.token)
        call = addressed(call, provider, mapping.provider_id)
        try:
            posts = await asyncio.to_thread(prepare, mapping, account, call)
        except Exception as error:
            raise explain(error, service) from error
        yield Sending()
        drawn: list[Result] = []
        failures: list[BackendError] = []
        calls = (_draw(client, post, provider, account, service) for post in posts)
        async with aclosing(as_completed(calls)) as results:
            async for result in results:
                if isinstance(result, BackendError):
                    failures.append(result)
                else:
                    drawn.append(result)
                    yield result.picture
        yield _receipt(call, drawn, failures)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()

    def _account(self, model: Model) -> Credentials:
        require_available(model)
        return Credentials.from_config(self.config)


async def _draw(
    client: "httpx2.AsyncClient",
    post: PreparedRequest,
    provider: str,
    account: Credentials,
    service: Service,
) -> Result:
    try:
        return await send(client, post, provider, f"{account.router}/{provider}", service)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, service) from error


def _receipt(
    call: ApiRequest, drawn: Sequence[Result], failures: Sequence[BackendError]
) -> Receipt:
    raise_if_incomplete(drawn, failures)
    return Receipt(
        honoured=record_actual(call.honoured, [one.picture for one in drawn], failures),
        generate=max(one.generate for one in drawn),
        download=max(one.download for one in drawn),
    )
