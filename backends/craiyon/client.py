"""Call Craiyon: one request returns the addresses of pictures, which are then downloaded."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin

from backends.craiyon.credentials import Credentials
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    RetiredModel,
    ServiceFault,
    WrongKey,
)
from backends.hosted import Result
from backends.http.client import retry_after
from backends.http.errors import transport_failure, unanswered
from backends.http.pictures import PictureFetcher
from backends.images.validation import check, check_count
from backends.json_values import loads
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    import httpx2

NAME = "Craiyon"
RESPONSE_TIMEOUT = 90.0
"""Seconds for a request; nine pictures usually take about a minute."""

TURNED_AWAY = (
    "Craiyon turned the request away: it lets in browsers only, and Lineup does not pretend to be "
    "one. Draw on craiyon.com instead."
)


async def send(
    client: "httpx2.AsyncClient", credentials: Credentials, body: Mapping[str, str]
) -> list[str]:
    """Request the pictures, and return their paths.

    Raises:
        BackendError: there are none; the sentence says why.
    """
    import httpx2

    payload = {**body, "token": credentials.token, "version": credentials.version}
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            response = await client.post(credentials.url, json=payload)
    except TimeoutError as error:
        raise unanswered(NAME, f"within {RESPONSE_TIMEOUT:g} s") from error
    except httpx2.RequestError as error:
        raise transport_failure(error, NAME) from error
    if response.status_code != 200:
        raise _rejected(response, credentials)
    return _paths(response)


def _picture_url(credentials: Credentials, path: str) -> str:
    """Return the address of a picture, which must be below the service's own address.

    Raises:
        ServiceFault: it is not.
    """
    try:
        url = urljoin(credentials.pictures, path)
    except ValueError:
        url = ""
    if not url.startswith(credentials.pictures):
        raise ServiceFault(f"{NAME} sent an address for a picture that is not its own. Try again.")
    return url


async def fetch(fetcher: PictureFetcher, credentials: Credentials, path: str) -> Result:
    """Download one picture.

    Raises:
        ServiceFault: its address is not the service's, it could not be downloaded, or is damaged.
    """
    url = _picture_url(credentials, path)
    picture = await asyncio.to_thread(check, await fetcher.fetch(url))
    return Result(pictures=(picture,))


def _paths(response: "httpx2.Response") -> list[str]:
    try:
        answer = loads(response.content)
    except ValueError as error:
        if response.content.lstrip().startswith(b"<"):  # a challenge for browsers
            raise Forbidden(TURNED_AWAY) from error
        raise ServiceFault("Craiyon sent an answer that is no JSON. Try again later.") from error
    match answer:
        case {"images": [str(), *_] as paths}:
            check_count(len(paths))
            return [path for path in cast(list[object], paths) if isinstance(path, str)]
        case {"error": str(said)} | {"message": str(said)} if said:
            raise ServiceFault(f"Craiyon answered without a picture: {service_message(said)}")
        case _:
            raise ServiceFault("Craiyon answered without a picture. Try again later.")


def _rejected(response: "httpx2.Response", credentials: Credentials) -> BackendError:
    """Map a response with a status other than 200."""
    match response.status_code:
        case 401 if credentials.token:
            return WrongKey("Craiyon does not accept the token. Check CRAIYON_TOKEN.")
        case 401 | 403:
            return Forbidden(TURNED_AWAY)
        case 402:
            return NoCredit("The Craiyon subscription has nothing left. Look at craiyon.com.")
        case 404 | 410:
            return RetiredModel(
                "Craiyon has nothing at this address any more. Update craiyon.py, or check "
                "CRAIYON_BASE_URL."
            )
        case 429:
            wait = retry_after(response.headers)
            return RateLimited(
                f"Craiyon takes no more requests for now. Try again {retry_phrase(wait)}.",
                retry_after=wait,
            )
        case 504 | 524:  # a gateway timed out, the request behind it may go on
            return unanswered(NAME, "in time")
        case 502 | 503 as status:
            return ServiceFault(
                f"Craiyon is overloaded, or turns away what is no browser ({status}). "
                "Try again later, or draw on craiyon.com."
            )
        case status if status < 500:
            why = service_message(response.text, credentials.token)
            kind = BadInput if status >= 400 else ServiceFault
            return kind(f"Craiyon does not take this request ({status}): {why}")
        case status:
            return ServiceFault(f"Craiyon failed ({status}). Try again later.")
