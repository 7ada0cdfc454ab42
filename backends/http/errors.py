"""Map transport failures to errors that tell whether the request was sent and may be billed."""

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backends.errors import BackendError, ServiceFault, TimedOut, Unanswered, Unreachable
from backends.settings import host_of

if TYPE_CHECKING:
    import httpx2

    from backends.http.limits import AnswerRefused

ADVICE = "Check that the service runs and the address."
MAY_BE_BILLED = "It may have been billed: look at your usage page before you try again."


def failure(error: Exception, service: str, *, look: str, advice: str = ADVICE) -> BackendError:
    """Map an exception from calling a service, or from parsing its response, to a `BackendError`.

    `look` is the sentence that tells where to see whether something was billed, `advice` the one
    for a refused connection.
    """
    import httpx2

    match error:
        case BackendError():
            return error
        case httpx2.RequestError():
            return transport_failure(error, service, advice=advice)
        case ValueError():
            return ServiceFault(
                f"{service} sent an answer that is cut short or is not JSON, or exceeds Lineup's "
                f"limits. {look}"
            )
        case _:
            return ServiceFault(
                f"{service} could not be asked, or sent an answer that makes no sense "
                f"({type(error).__name__})."
            )


def transport_failure(
    error: "httpx2.RequestError", service: str, *, advice: str = ADVICE
) -> BackendError:
    """Map an exception of httpx2 to a `BackendError`.

    `advice` is the sentence for a refused connection.
    """
    import httpx2

    from backends.http.limits import AnswerRefused

    host = host_of(str(error.request.url))
    match error:
        case AnswerRefused():
            return answer_refused(error, service)
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return TimedOut(
                f"No connection to {host} within {_timeout(error, 'connect')}. Nothing was sent. "
                "Check the internet connection and try again."
            )
        case httpx2.ConnectError():
            return Unreachable(_why_unreachable(error, host, advice))
        case httpx2.ProxyError():
            return Unreachable(f"The proxy of this machine refused the way to {host}.")
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
            return Unreachable(f"No request could be sent to {host}. Check address and key.")
        case httpx2.TooManyRedirects() | httpx2.DecodingError():
            return ServiceFault(f"{service} sent an answer that cannot be read. Try again later.")
        case httpx2.ReadTimeout():
            return unanswered(service, f"within {_timeout(error, 'read')}")
        case _:
            return unanswered(service, "before the connection was cut")


def answer_refused(error: "AnswerRefused", service: str) -> ServiceFault:
    """Return the error for an answer that exceeds a limit; a query by GET is never billed."""
    free = error.request.method == "GET"
    bill = "Nothing was billed for it." if free else MAY_BE_BILLED
    return ServiceFault(
        f"{service} sent {error}, which Lineup does not read. {bill}",
        charged=False if free else None,
    )


def unanswered(service: str, limit: str) -> Unanswered:
    """Return the error for a request that was sent and whose outcome is unknown."""
    return Unanswered(
        f"{service} took the request and did not finish its answer {limit}. {MAY_BE_BILLED}"
    )


def _timeout(error: "httpx2.RequestError", kind: str) -> str:
    """Return the request's timeout of a kind ("connect", "read") as part of a sentence."""
    seconds = error.request.extensions.get("timeout", {}).get(kind)
    return "its time" if seconds is None else f"{seconds:g} s"


def _why_unreachable(error: BaseException, host: str, advice: str) -> str:
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return (
                    f"The name {host} could not be found. "
                    "Check the address and the internet connection."
                )
            case ssl.SSLError():
                return f"{host} offers no secure connection that can be trusted. Check the address."
            case ConnectionRefusedError():
                return f"Nothing answers at {host}. {advice}"
            case _:
                continue
    return f"No connection to {host}. Check the address and the internet connection."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and all that caused it, members of exception groups included."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        error = error.__cause__ or error.__context__
