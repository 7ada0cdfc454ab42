"""The account's balance: whether the key is accepted, and what a job cost."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from backends.base import Model
from backends.errors import BackendError
from backends.http.errors import transport_failure
from backends.stability.credentials import Credentials
from backends.stability.errors import explain, rejected

if TYPE_CHECKING:
    import httpx2

CREDITS_A_DOLLAR = 100
PATIENCE = 3.0
"""Seconds that a balance is waited for: a price list is there as well."""

_EXACT = Decimal("0.000001")
_ANY = Model(id="stability/any", label="any model", family="", source="")


class Jobs:
    """The jobs of this process on the account: a balance tells of one only if it was alone."""

    def __init__(self) -> None:
        self._running = 0
        self._begun = 0

    @contextmanager
    def alone(self) -> Generator[Callable[[], bool], None, None]:
        """Begin a job; what is given says whether it has been the only one since."""
        first = self._running == 0
        self._begun += 1
        self._running += 1
        number = self._begun
        try:
            yield lambda: first and self._begun == number
        finally:
            self._running -= 1


async def check_key(client: "httpx2.AsyncClient", credentials: Credentials) -> str:
    """Return the sentence that says that the key is accepted, and what is left.

    Raises:
        BackendError: it is not, or nobody answers.
    """
    try:
        response = await _ask(client, credentials)
        if response.status_code != 200:
            raise rejected(response, response.content, credentials, _ANY)
        left = _read(response)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, credentials) from error
    has = "" if left is None else f" The account has {left.normalize():f} credits left."
    return f"{credentials.service} accepts the key.{has}"


async def balance(client: "httpx2.AsyncClient", credentials: Credentials) -> Decimal | None:
    """Return the account's credits, None where they cannot be read; asking costs nothing.

    Raises:
        BackendError: nobody is there to be asked for a picture either.
    """
    import httpx2

    try:
        return _read(await _ask(client, credentials))
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        failure: BackendError = transport_failure(error, credentials.service)
        raise failure from error
    except (httpx2.RequestError, ValueError):
        return None


async def _ask(client: "httpx2.AsyncClient", credentials: Credentials) -> "httpx2.Response":
    import httpx2

    return await client.get(
        f"{credentials.base_url}/v1/user/balance",
        headers={"Authorization": f"Bearer {credentials.key}"},
        timeout=httpx2.Timeout(PATIENCE, connect=client.timeout.connect),
    )


def _read(response: "httpx2.Response") -> Decimal | None:
    match json.loads(response.content, parse_float=Decimal):
        case {"credits": Decimal() | int() as credits} if response.status_code == 200:
            return Decimal(credits)
        case _:
            return None


def spent(before: Decimal | None, after: Decimal | None) -> Decimal | None:
    """Return the difference in USD, None where the balance does not tell.

    A balance that has not sunk may not be up to date yet, or was filled up meanwhile.
    """
    if before is None or after is None or after >= before:
        return None
    # The API counts in binary fractions: what is beyond a ten-thousandth of a credit is noise.
    return ((before - after) / CREDITS_A_DOLLAR).quantize(_EXACT, ROUND_HALF_EVEN)
