"""OpenAI's image API, and every server that speaks it.

One picture is asked for as a stream, with partial pictures on the way; several at once, or where
the server knows no streams, as one plain answer. Nothing is sent twice by itself, because an image
call may be billed each time, with two exceptions that the service rejects before it draws: a plain
call follows one whose `stream` the server does not know, and a short "come back in N seconds" is
waited for once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from backends.base import (
    Applied,
    Backend,
    Config,
    Event,
    Key,
    Lane,
    Model,
    Picture,
    Progress,
    Queued,
    Ready,
    Receipt,
    Request,
    Sending,
    Service,
    UserModels,
)
from backends.errors import NotReady, RateLimited
from backends.http.client import ClientPool, download
from backends.http.errors import unanswered
from backends.images.previews import Previews
from backends.images.validation import check
from backends.openai.client import Client, headers
from backends.openai.credentials import Credentials, servers, user_models
from backends.openai.errors import explain
from backends.openai.request import ApiRequest, Options, build_request
from backends.openai.response import ApiResponse
from backends.readiness import readiness, require_available
from backends.wording import list_models

if TYPE_CHECKING:
    import httpx2

MOST_PATIENCE = 20.0
_ANY = Model(id="openai/any", label="any model", family="", source="any model")


class OpenAI(Backend):
    """Draws with the models of OpenAI or of a compatible server (`OPENAI_BASE_URL`).

    Of the user's own servers (`OPENAI_SERVERS`) each has its lane and its key.
    """

    name = "openai"
    label = "OpenAI"
    Options = Options
    keys = (Key("OPENAI_API_KEY", "https://platform.openai.com/api-keys"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._previews = Previews()
        self._wire = Client(self._previews)

    def ready(self, model: Model) -> Ready:
        """Say whether there is a key, and whether the model is still there."""
        return readiness(lambda: self._account(model))

    @classmethod
    def services(cls, config: Config) -> tuple[Service, ...]:
        """OpenAI, and each of the user's own servers."""
        try:
            own = servers(config).values()
        except NotReady:  # every job and the start say so
            own = ()
        return (
            Service("", cls.label, cls.keys),
            *(Service(each.name, each.name, (Key(each.key, each.base_url),)) for each in own),
        )

    @classmethod
    def user_models(cls, config: Config) -> UserModels:
        """Return the models that `OPENAI_SERVERS` lists."""
        return user_models(config)

    async def check(self, server: str = "") -> str:
        """List the models, which costs nothing."""
        account = Credentials.from_config(self.config, server)
        account.check()
        try:
            client = await self._wire.prepare(await self._clients.get(), account)
            found = await client.models.list(extra_headers=headers(account))
            names = [str(each.id) for each in found.data or ()]
        except Exception as error:
            raise explain(error, account, _ANY) from error
        if account.official:
            return f"{account.service} accepts the key."
        return f"{account.service} answers. {list_models(names)}"

    def lane(self, model: Model) -> Lane:
        """One lane for all models of a server: they draw on one account."""
        return Lane(f"openai {model.server}".strip(), 64)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request`; previews come while it is drawn where the server streams."""
        account = self._account(model)
        call = await asyncio.to_thread(build_request, model, request)
        for last in (False, True):
            try:
                async with aclosing(self._attempt(account, call)) as events:
                    async for event in events:
                        yield event
                return
            except Exception as error:
                fault = explain(error, account, model)
                wait = fault.retry_after if isinstance(fault, RateLimited) else None
                if fault is error:
                    raise
                if last or wait is None or wait > MOST_PATIENCE:
                    raise fault from error
            yield Queued(message=f"{account.service} asks to wait {max(1, round(wait))} s")
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        self._previews.close()
        await self._clients.aclose()

    def _account(self, model: Model) -> Credentials:
        require_available(model)
        account = Credentials.from_config(self.config, model.server)
        account.check()
        return account

    async def _attempt(self, account: Credentials, call: ApiRequest) -> AsyncGenerator[Event, None]:
        client = await self._wire.prepare(await self._clients.get(), account)
        yield Sending()
        async with aclosing(self._wire.exchange(client, account, call)) as parts:
            async for part in parts:
                match part:
                    case Progress():
                        yield part
                    case ApiResponse():
                        async for event in self._deliver(part, account, call):
                            yield event
                        return
        raise unanswered(account.service, "before the stream ended")

    async def _deliver(
        self, answer: ApiResponse, account: Credentials, call: ApiRequest
    ) -> AsyncGenerator[Picture | Receipt, None]:
        started = time.perf_counter()
        pictures: list[Picture] = []
        for found in answer.pictures:
            if isinstance(found, str):
                url = urljoin(f"{account.base_url}/", found)
                data = await download(await self._clients.get(), url)
                found = await asyncio.to_thread(check, data)
            pictures.append(found)
            yield found
        fetched = any(isinstance(found, str) for found in answer.pictures)
        fetching = time.perf_counter() - started if fetched else None
        times = [seconds for seconds in (answer.download, fetching) if seconds is not None]
        yield Receipt(
            honoured=_honoured(call, answer, pictures),
            usage=answer.usage,
            generate=answer.generate,
            download=sum(times) if times else None,
        )


def _honoured(call: ApiRequest, answer: ApiResponse, pictures: list[Picture]) -> dict[str, Applied]:
    """What was asked of the service, corrected by what it says and sent."""
    honoured = dict(call.honoured)
    if answer.revised_prompt is not None:
        prompt = str(call.parameters["prompt"])
        honoured["prompt"] = Applied(prompt, answer.revised_prompt, "prompt rewritten")
    quality = honoured.get("quality")
    if quality is not None and answer.quality not in (None, quality.used):
        note = f"quality {answer.quality} instead of {quality.requested}"
        honoured["quality"] = Applied(
            quality.requested, answer.quality, "" if quality.requested == "auto" else note
        )
    size, made = honoured["size"], f"{pictures[0].width}x{pictures[0].height}"
    if made != size.used:
        honoured["size"] = replace(
            size, used=made, note=f"{made} instead of {size.requested or size.used}"
        )
    return honoured
