"""Google's image models: the Gemini family, which came after Imagen.

One call draws one picture. Several are asked for at the same time, with seeds that count up, and
each is billed. Nothing is sent twice by itself.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
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
from backends.errors import BackendError, MissingPackage
from backends.fit import record_actual
from backends.google.client import Client, check_key, send
from backends.google.credentials import Credentials
from backends.google.errors import explain
from backends.google.request import ApiRequest, Options, build_request
from backends.google.response import ApiResponse, parse_response
from backends.http.client import ClientPool
from backends.readiness import readiness, require_available

if TYPE_CHECKING:
    import httpx2

    from google import genai

_ANY = Model(id="google/any", label="any model", family="", source="any model")


class Google(Backend):
    """Draws with Google's Gemini API, billed by the tokens that it counts."""

    name = "google"
    label = "Google"
    Options = Options
    keys = (Key("GOOGLE_API_KEY", "https://aistudio.google.com/apikey"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._wire = Client()

    def ready(self, model: Model) -> Ready:
        """Say whether there is a key, and whether the model is still there."""
        return readiness(lambda: self._account(model))

    async def check(self, server: str = "") -> str:
        """List a model, which costs nothing."""
        account = Credentials.from_config(self.config)
        account.check()
        try:
            await check_key(await self._client(), account)
        except Exception as error:
            raise explain(error, account, _ANY) from None
        return f"{account.service} accepts the key."

    def lane(self, model: Model) -> Lane:
        """One lane for all models: they draw on one account."""
        return Lane("google", 16)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Ask for every picture at once, and yield each as it comes."""
        account = self._account(model)
        call = await asyncio.to_thread(build_request, model, request)
        client = await self._client()
        yield Sending()
        answers: list[ApiResponse] = []
        failures: list[BackendError] = []
        calls = (_draw(client, account, model, call, seed) for seed in call.seeds)
        async with aclosing(as_completed(calls)) as results:
            async for result in results:
                if isinstance(result, BackendError):
                    failures.append(result)
                    continue
                answers.append(result)
                for picture in result.pictures:
                    yield picture
        raise_if_incomplete(answers, failures)
        pictures = [picture for answer in answers for picture in answer.pictures]
        yield Receipt(
            honoured=record_actual(call.honoured, pictures, failures), usage=_usage(answers)
        )

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        self._wire.close()
        await self._clients.aclose()

    async def _client(self) -> "genai.Client":
        try:
            return await self._wire.prepare(await self._clients.get())
        except ImportError as error:
            raise MissingPackage(
                "Google's package is missing: pip install google-genai."
            ) from error

    def _account(self, model: Model) -> Credentials:
        require_available(model)
        account = Credentials.from_config(self.config)
        account.check()
        return account


async def _draw(
    client: "genai.Client", account: Credentials, model: Model, call: ApiRequest, seed: int | None
) -> ApiResponse:
    try:
        body = await send(client, account, call, seed)
        return await asyncio.to_thread(parse_response, body, seed, account.service)
    except BackendError:
        raise
    except Exception as error:
        # A service may repeat the key in its own words.
        leaks = account.key is not None and account.key in f"{error!r}"
        raise explain(error, account, model) from (None if leaks else error)


def _usage(answers: Sequence[ApiResponse]) -> Mapping[str, int]:
    """Add up the tokens; unknown where one answer does not count them."""
    if not all(answer.usage for answer in answers):
        return {}
    total: Counter[str] = Counter()
    for answer in answers:
        total.update(answer.usage)
    return dict(total)
