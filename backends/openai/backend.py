"""OpenAI's image API, and every server that implements it.

One picture is requested as a stream, with partial pictures on the way, where the server is known to
support that; several pictures, or any number elsewhere, as one plain response. No call is retried,
because an image call may be billed each time, with two exceptions that the service rejects before
it draws: a call without `stream` follows one whose `stream` the server does not know, and a rate
limit with a short `Retry-After` is waited for once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.base import (
    Applied,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Picture,
    Progress,
    Queued,
    Receipt,
    Request,
    Sending,
    Service,
    UserModels,
)
from backends.errors import BackendError, NotReady, RateLimited
from backends.fit import record_actual
from backends.hosted import HostedBackend, require_available
from backends.http.errors import unanswered
from backends.http.pictures import PictureFetcher
from backends.images.previews import Previews
from backends.images.validation import check
from backends.openai.client import SdkClients, authorization, list_models, send
from backends.openai.credentials import Credentials, servers, user_models
from backends.openai.errors import explain
from backends.openai.request import ApiRequest, Options, build_request
from backends.openai.response import ApiResponse
from backends.wording import list_models as model_sentence

if TYPE_CHECKING:
    import httpx2

MAX_RETRY_AFTER = 20.0
"""Seconds of a rate limit that are waited for instead of failing."""

_ANY = Model(id="openai/any", label="any model", family="", source="any model")


class OpenAI(HostedBackend):
    """Draws with the models of OpenAI or of a compatible server (`OPENAI_BASE_URL`).

    Each of the user's servers (`OPENAI_SERVERS`) has its own lane and key.
    """

    name = "openai"
    label = "OpenAI"
    Options = Options
    keys = (Key("OPENAI_API_KEY", "https://platform.openai.com/api-keys"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._previews = Previews()
        self._sdk = SdkClients()
        self._stream_refusers: set[str] = set()

    def credentials(self, model: Model) -> Credentials:
        """Return the checked address and key of the model's server."""
        require_available(model)
        credentials = Credentials.from_config(self.config, model.server)
        credentials.check()
        return credentials

    @classmethod
    def services(cls, config: Config) -> tuple[Service, ...]:
        """Return OpenAI and each of the user's servers."""
        try:
            named = servers(config).values()
        except NotReady:  # reported at the start and by every job
            named = ()
        return (
            Service("", cls.label, cls.keys),
            *(Service(each.name, each.name, (Key(each.key, each.base_url),)) for each in named),
        )

    @classmethod
    def user_models(cls, config: Config) -> UserModels:
        """Return the models that `OPENAI_SERVERS` lists."""
        return user_models(config)

    async def check(self, server: str = "") -> str:
        """List the models, which costs nothing."""
        credentials = Credentials.from_config(self.config, server)
        credentials.check()
        try:
            client = await self._sdk.get(await self._clients.get(), credentials)
            names = await list_models(client, credentials)
        except Exception as error:
            raise explain(error, credentials, _ANY) from error
        if credentials.official:
            return f"{credentials.service} accepts the key."
        return f"{credentials.service} answers. {model_sentence(names)}"

    def lane(self, model: Model) -> Lane:
        """Return one lane for all models of a server, since they share one account."""
        return Lane(f"openai {model.server}".strip(), 64)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`, with previews where the server supports streams."""
        credentials = self.credentials(model)
        api_request = await asyncio.to_thread(
            build_request, model, request, streams=credentials.streams
        )
        for last in (False, True):
            try:
                async with aclosing(self._attempt(credentials, api_request)) as events:
                    async for event in events:
                        yield event
                return
            except Exception as error:
                failure = explain(error, credentials, model)
                wait = failure.retry_after if isinstance(failure, RateLimited) else None
                if failure is error:
                    raise
                if last or wait is None or wait > MAX_RETRY_AFTER:
                    raise failure from error
            yield Queued(message=f"{credentials.service} asks to wait {max(1, round(wait))} s")
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Drop pending previews and close the connections of the running event loop."""
        self._previews.close()
        await super().aclose()

    async def _attempt(
        self, credentials: Credentials, api_request: ApiRequest
    ) -> AsyncGenerator[Event, None]:
        client = await self._sdk.get(await self._clients.get(), credentials)
        yield Sending()
        parts = send(client, credentials, api_request, self._previews, self._stream_refusers)
        async with aclosing(parts):
            async for part in parts:
                match part:
                    case Progress():
                        yield part
                    case ApiResponse():
                        async for event in self._deliver(part, credentials, api_request):
                            yield event
                        return
        raise unanswered(credentials.service, "before the stream ended")

    async def _deliver(
        self, response: ApiResponse, credentials: Credentials, api_request: ApiRequest
    ) -> AsyncGenerator[Picture | Receipt, None]:
        """Yield the response's pictures, downloading those that came as URLs, and the receipt.

        Raises:
            BackendError: none of the pictures could be fetched.
        """
        started = time.perf_counter()
        pictures: list[Picture] = []
        losses = list(response.losses)
        fetcher = PictureFetcher(self._clients, credentials.base_url, authorization(credentials))
        for picture in response.pictures:
            if isinstance(picture, str):
                try:
                    picture = await asyncio.to_thread(check, await fetcher.fetch(picture))
                except BackendError as loss:
                    losses.append(loss)
                    continue
            pictures.append(picture)
            yield picture
        if not pictures:
            raise losses[0]
        downloaded = any(isinstance(picture, str) for picture in response.pictures)
        downloading = time.perf_counter() - started if downloaded else None
        times = [seconds for seconds in (response.download, downloading) if seconds is not None]
        yield Receipt(
            honoured=_honoured(api_request, response, pictures, losses),
            usage=response.usage,
            generate=response.generate,
            download=sum(times) if times else None,
        )


def _honoured(
    api_request: ApiRequest,
    response: ApiResponse,
    pictures: Sequence[Picture],
    losses: Sequence[BackendError],
) -> dict[str, Applied]:
    """Return the request's `honoured`, corrected by what the response states and contains."""
    honoured = dict(api_request.honoured)
    if response.revised_prompt is not None:
        prompt = str(api_request.parameters["prompt"])
        honoured["prompt"] = Applied(prompt, response.revised_prompt, "prompt rewritten")
    quality = honoured.get("quality")
    if quality is not None and response.quality not in (None, quality.used):
        note = f"quality {response.quality} instead of {quality.requested}"
        honoured["quality"] = Applied(
            quality.requested, response.quality, "" if quality.requested == "auto" else note
        )
    return record_actual(honoured, pictures, losses)
