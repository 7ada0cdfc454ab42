"""What fails with any server that Lineup's owner runs, as a sentence for the card."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from backends.errors import (
    BackendError,
    NotReady,
    RateLimited,
    ServiceFault,
    TimedOut,
    Unanswered,
)
from backends.http.client import retry_after
from backends.http.errors import transport_failure
from backends.http.self_hosted import OwnServer
from backends.wording import when

if TYPE_CHECKING:
    import httpx2

    Answered: TypeAlias = Callable[[httpx2.Response, OwnServer], BackendError]


def explain(
    error: Exception, server: OwnServer, answered: "Answered", *, sent: bool, start: str, api: str
) -> BackendError:
    """Return what `error` means for the person at the card; `sent` says how far the job was.

    `answered` reads an answer whose status only this kind of server explains. `start` is how one
    is started, and `api` what its answers are.
    """
    fault = _fault(error, server, answered, start=start, api=api)
    return unanswered(server, sent=sent) if isinstance(fault, Unanswered) else fault


def unanswered(server: OwnServer, *, sent: bool) -> BackendError:
    """Nobody knows what became of the job."""
    if not sent:
        return TimedOut(
            f"{server.name} does not answer. Nothing was sent. "
            "Look whether it is still starting or busy, and try again."
        )
    return Unanswered(
        f"{server.name} took the request and did not finish its answer. It may be drawing still: "
        "look at it before you try again."
    )


def _fault(
    error: Exception, server: OwnServer, answered: "Answered", *, start: str, api: str
) -> BackendError:
    import httpx2

    setting = f"{server.prefix}_URL"
    match error:
        case BackendError():
            return error
        case httpx2.HTTPStatusError(response=response):
            return _usual(response, server) or answered(response, server)
        case httpx2.RequestError():
            advice = f"{start}, and check {setting}."
            return transport_failure(error, server.name, advice=advice)
        case httpx2.InvalidURL():
            return NotReady(server.nonsense)
        case ValueError():  # not JSON
            return ServiceFault(
                f"{server.name} sent an answer that is cut short or not of {api}. "
                f"Check {setting}, then try again."
            )
        case _:
            return ServiceFault(
                f"{server.name} sent an answer that makes no sense ({type(error).__name__})."
            )


def _usual(response: "httpx2.Response", server: OwnServer) -> BackendError | None:
    """What a status means whoever sends it, None where the kind of server matters."""
    status, name = response.status_code, server.name
    match status:
        case 429:
            wait = retry_after(response.headers)
            return RateLimited(
                f"{name} takes no more requests for now. Try again {when(wait)}.", retry_after=wait
            )
        case 504 | 524:  # a tunnel gave up waiting, the server behind it may go on
            return unanswered(server, sent=True)
        case 502 | 503:
            return ServiceFault(
                f"{name} is down, starting or overloaded ({status}). Look at it, then try again."
            )
        case _ if 300 <= status < 400:
            moved = f"Set {server.prefix}_URL to its new address."
            return NotReady(f"{name} says that it has moved. {moved}")
        case _:
            return None
