"""Query the account's balance: it checks the key, and tells what a job cost."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from backends.base import Model
from backends.errors import BackendError
from backends.http.errors import transport_failure
from backends.json_values import loads
from backends.stability.credentials import Credentials
from backends.stability.errors import explain, rejected

if TYPE_CHECKING:
    import httpx2

CREDITS_PER_USD = 100
BALANCE_TIMEOUT = 3.0
"""Seconds to wait for a balance; without it the cost comes from the price list."""

_EXACT = Decimal("0.000001")
_ANY = Model(id="stability/any", label="any model", family="", source="")


class Jobs:
    """Counts the jobs of this process on the account.

    The difference of two balances is the cost of a job only if no other job ran in between.
    """

    def __init__(self) -> None:
        self._running = 0
        self._begun = 0

    @contextmanager
    def alone(self) -> Generator[Callable[[], bool], None, None]:
        """Begin a job; the yielded function tells whether it has been the only one since."""
        first = self._running == 0
        self._begun += 1
        self._running += 1
        number = self._begun
        try:
            yield lambda: first and self._begun == number
        finally:
            self._running -= 1


async def check_key(client: "httpx2.AsyncClient", credentials: Credentials) -> str:
    """Return the sentence that confirms the key and states the credits left.

    Raises:
        BackendError: the key is not accepted, or the service cannot be reached.
    """
    try:
        response = await _get_balance(client, credentials)
        if response.status_code != 200:
            raise rejected(response, response.content, credentials, _ANY)
        left = _parse_balance(response)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, credentials) from error
    has = "" if left is None else f" The account has {left.normalize():f} credits left."
    return f"{credentials.service} accepts the key.{has}"


async def balance(client: "httpx2.AsyncClient", credentials: Credentials) -> Decimal | None:
    """Return the account's credits, None if they cannot be read; the query costs nothing.

    Raises:
        BackendError: there is no connection, so that a job would fail as well.
    """
    import httpx2

    try:
        return _parse_balance(await _get_balance(client, credentials))
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        failure: BackendError = transport_failure(error, credentials.service)
        raise failure from error
    except (httpx2.RequestError, ValueError):
        return None


async def _get_balance(client: "httpx2.AsyncClient", credentials: Credentials) -> "httpx2.Response":
    import httpx2

    return await client.get(
        f"{credentials.base_url}/v1/user/balance",
        headers={"Authorization": f"Bearer {credentials.key}"},
        timeout=httpx2.Timeout(
            min(client.timeout.read or BALANCE_TIMEOUT, BALANCE_TIMEOUT),
            connect=client.timeout.connect,
        ),
    )


def _parse_balance(response: "httpx2.Response") -> Decimal | None:
    match loads(response.content, parse_float=Decimal):
        case {"credits": Decimal() | int() as credits} if response.status_code == 200:
            return Decimal(credits)
        case _:
            return None


def spent(before: Decimal | None, after: Decimal | None) -> Decimal | None:
    """Return the difference of two balances in USD, None if the cost is unknown.

    A balance that did not decrease may be out of date, or credits were added in between.
    """
    if before is None or after is None or after >= before:
        return None
    # The API computes with binary fractions: below a ten-thousandth of a credit is rounding noise.
    return ((before - after) / CREDITS_PER_USD).quantize(_EXACT, ROUND_HALF_EVEN)
