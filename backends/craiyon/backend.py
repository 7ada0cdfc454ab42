"""Craiyon, best effort: it has no public API, and refuses clients that are not browsers.

So it is off until CRAIYON_ENABLED=1, and says plainly when it is turned away. Lineup names itself
for what it is and goes around no protection: where Craiyon says no, the answer is no.

The package `craiyon.py` knows where Craiyon listens and which version of its model is current; its
own calls know no time limit, do not look at the answer's status, and pretend to be a browser. So
it is asked only for what it knows, and the request is sent here. With CRAIYON_BASE_URL and
CRAIYON_VERSION both set there is nothing left to ask it, and it need not be installed.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

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
    Ready,
    Receipt,
    Request,
    Sending,
)
from backends.concurrency import as_completed
from backends.craiyon.client import fetch, send
from backends.craiyon.credentials import Credentials, check, find_credentials
from backends.errors import BackendError
from backends.fit import fit, record_actual
from backends.http.client import ClientPool
from backends.options import option, parse_options
from backends.readiness import readiness
from backends.settings import positive_number

if TYPE_CHECKING:
    import httpx2

AT_ONCE = 9
"""Pictures that Craiyon draws for each request, whatever was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; the form is drawn from the fields."""

    kind: str = option(
        "none",
        label="Kind",
        help="What sort of picture; none lets Craiyon decide.",
        choices=("none", "art", "drawing", "photo"),
    )


class Craiyon(Backend):
    """Asks Craiyon for its nine pictures, as whatever Craiyon takes Lineup for."""

    name = "craiyon"
    label = "Craiyon"
    Options = Options
    keys = (Key("CRAIYON_TOKEN", "https://www.craiyon.com/pricing"),)

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)

    def ready(self, model: Model) -> Ready:
        """Say whether it was switched on, and whether its package is there."""
        return readiness(lambda: check(self.config))

    def lane(self, model: Model) -> Lane:
        """One at a time: it is somebody's free service."""
        return Lane("craiyon", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Ask once, wait about a minute, fetch all nine pictures."""
        fitted = fit(model, request)
        options, ignored = parse_options(Options, request.options.get("craiyon", {}), "Craiyon")
        service = await asyncio.to_thread(find_credentials, self.config)
        client = await self._clients.get()
        yield Sending()
        yield Progress(message=f"Craiyon takes about a minute for its {AT_ONCE} pictures")
        body = {
            "prompt": fitted.request.prompt,
            "negative_prompt": fitted.request.negative_prompt,
            "model": options.kind,
        }
        urls = await send(client, service, body)
        pictures: list[Picture] = []
        failures: list[BackendError] = []
        async with aclosing(as_completed(fetch(client, url) for url in urls)) as results:
            async for result in results:
                if isinstance(result, BackendError):
                    failures.append(result)
                else:
                    pictures.append(result)
                    yield result
        if not pictures:
            raise failures[0]
        yield Receipt(
            honoured=_honoured(fitted.honoured | ignored, service, pictures, failures),
            # What a subscription's picture costs depends on how many it makes in a month.
            charged=None if service.token else Decimal(0),
            monthly=positive_number(self.config, "CRAIYON_MONTHLY_USD") if service.token else None,
        )

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()


def _honoured(
    honoured: Mapping[str, Applied],
    service: Credentials,
    pictures: Sequence[Picture],
    failures: Sequence[BackendError],
) -> dict[str, Applied]:
    """What was taken, and what Craiyon does whatever one asks for."""
    made = record_actual(honoured, pictures, failures)
    if not failures and made["count"].note:
        note = f"{made['count'].note}: Craiyon always draws {AT_ONCE}"
        made["count"] = replace(made["count"], note=note)
    if service.token is None:
        note = "the pictures carry Craiyon's watermark; a subscription's token takes it away"
        made["watermark"] = Applied(None, True, note)
    return made
