"""Craiyon, best effort: it has no public API, and rejects clients that are not browsers.

So it is off until CRAIYON_ENABLED=1, and a rejected request says so plainly. Lineup sends its own
User-Agent and circumvents no protection.

The package `craiyon.py` has the address of Craiyon and the current version of its model; its own
calls have no timeout, ignore the response's status, and imitate a browser. So only those two values
are read from it, and the request is sent here. With CRAIYON_BASE_URL and CRAIYON_VERSION both set
the package need not be installed.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal

from backends.base import (
    Applied,
    Event,
    Key,
    Lane,
    Model,
    Progress,
    Ready,
    Request,
    Sending,
)
from backends.craiyon.client import fetch, send
from backends.craiyon.credentials import Credentials, check, find_credentials
from backends.fit import fit
from backends.hosted import ConcurrentCalls, HostedBackend, readiness
from backends.http.pictures import PictureFetcher
from backends.options import option, parse_options
from backends.settings import positive_number

PICTURES = 9
"""Pictures that Craiyon draws for each request, regardless of the requested count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of this backend; the form has a widget for each."""

    kind: str = option(
        "none",
        label="Kind",
        help="What sort of picture; none lets Craiyon decide.",
        choices=("none", "art", "drawing", "photo"),
    )


class Craiyon(HostedBackend):
    """Requests Craiyon's nine pictures, without a key or with a subscription's token."""

    name = "craiyon"
    label = "Craiyon"
    Options = Options
    keys = (Key("CRAIYON_TOKEN", "https://www.craiyon.com/pricing"),)

    def credentials(self, model: Model) -> Credentials:
        """Return address, model version and token; slow where the package must be imported."""
        return find_credentials(self.config)

    def ready(self, model: Model) -> Ready:
        """Return whether Craiyon is switched on and its package installed, importing nothing."""
        return readiness(lambda: check(self.config))

    def lane(self, model: Model) -> Lane:
        """Return a lane for one job at a time, since the service is free."""
        return Lane("craiyon", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Request the pictures once, which takes about a minute, and download all nine."""
        fitted = fit(model, request)
        options, ignored = parse_options(Options, request.options.get("craiyon", {}), "Craiyon")
        credentials = await asyncio.to_thread(self.credentials, model)
        client = await self._clients.get()
        yield Sending()
        yield Progress(message=f"Craiyon takes about a minute for its {PICTURES} pictures")
        body = {
            "prompt": fitted.request.prompt,
            "negative_prompt": fitted.request.negative_prompt,
            "model": options.kind,
        }
        paths = await send(client, credentials, body)
        fetcher = PictureFetcher(self._clients, credentials.pictures)
        downloads = ConcurrentCalls(
            (fetch(fetcher, credentials, path) for path in paths), prepaid=True
        )
        async with aclosing(downloads.pictures()) as pictures:
            async for picture in pictures:
                yield picture
        receipt = downloads.receipt(fitted.honoured | ignored)
        subscribed = credentials.token is not None
        yield replace(
            receipt,
            honoured=_honoured(
                receipt.honoured, subscribed=subscribed, complete=not downloads.failures
            ),
            # The price of a subscription's picture depends on their number in the month.
            charged=None if subscribed else Decimal(0),
            monthly=positive_number(self.config, "CRAIYON_MONTHLY_USD") if subscribed else None,
        )


def _honoured(
    honoured: Mapping[str, Applied], *, subscribed: bool, complete: bool
) -> dict[str, Applied]:
    """Return `honoured` with what Craiyon does regardless of the request: count and watermark."""
    noted = dict(honoured)
    count = noted["count"]
    if complete and count.note:
        note = f"{count.note}: Craiyon always draws {PICTURES}"
        noted["count"] = replace(count, note=note)
    if not subscribed:
        note = "the pictures carry Craiyon's watermark; a subscription's token takes it away"
        noted["watermark"] = Applied(None, True, note)
    return noted
