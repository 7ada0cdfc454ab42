"""Each failure below HTTP says whether anything was sent, and may have been billed."""

import inspect
import socket
import ssl

import httpx2
import pytest

from backends.errors import (
    BackendError,
    ServiceFault,
    TimedOut,
    Unanswered,
    Unreachable,
)
from backends.http.errors import transport_failure

REQUEST = httpx2.Request(
    "POST",
    "https://user:secret@pictures.example:8443/v1",
    extensions={"timeout": {"connect": 10.0, "read": 600.0}},
)


def caused(error: httpx2.RequestError, cause: BaseException) -> httpx2.RequestError:
    error.__cause__ = cause
    return error


FAILURES: list[tuple[httpx2.RequestError, type[BackendError], str]] = [
    (httpx2.ConnectTimeout("", request=REQUEST), TimedOut, "Nothing was sent"),
    (httpx2.PoolTimeout("", request=REQUEST), TimedOut, "Nothing was sent"),
    (
        caused(httpx2.ConnectError("", request=REQUEST), socket.gaierror(8, "unknown")),
        Unreachable,
        "name pictures.example:8443 could not be found",
    ),
    (
        caused(httpx2.ConnectError("", request=REQUEST), ssl.SSLCertVerificationError("bad")),
        Unreachable,
        "no secure connection",
    ),
    (
        caused(
            httpx2.ConnectError("", request=REQUEST),
            ExceptionGroup("all failed", [ConnectionRefusedError(), ConnectionRefusedError()]),
        ),
        Unreachable,
        "Nothing answers at pictures.example:8443",
    ),
    (httpx2.ConnectError("", request=REQUEST), Unreachable, "No connection to"),
    (httpx2.ProxyError("", request=REQUEST), Unreachable, "proxy"),
    (httpx2.UnsupportedProtocol("", request=REQUEST), Unreachable, "No request could be sent"),
    (httpx2.LocalProtocolError("", request=REQUEST), Unreachable, "No request could be sent"),
    (httpx2.TooManyRedirects("", request=REQUEST), ServiceFault, "cannot be read"),
    (httpx2.DecodingError("", request=REQUEST), ServiceFault, "cannot be read"),
    (httpx2.ReadTimeout("", request=REQUEST), Unanswered, "within 600 s.*may have been billed"),
    (httpx2.WriteTimeout("", request=REQUEST), Unanswered, "may have been billed"),
    (httpx2.ReadError("", request=REQUEST), Unanswered, "connection was cut"),
    (httpx2.WriteError("", request=REQUEST), Unanswered, "connection was cut"),
    (httpx2.CloseError("", request=REQUEST), Unanswered, "connection was cut"),
    (httpx2.RemoteProtocolError("", request=REQUEST), Unanswered, "connection was cut"),
]


@pytest.mark.parametrize(("error", "kind", "sentence"), FAILURES)
def test_a_failure_below_http(
    error: httpx2.RequestError, kind: type[BackendError], sentence: str
) -> None:
    explained = transport_failure(error, "The service")
    assert type(explained) is kind
    assert explained.charged is (None if kind in (Unanswered, ServiceFault) else False)
    with pytest.raises(kind, match=sentence):
        raise explained
    assert "secret" not in str(explained)


def test_every_failure_of_httpx2_is_covered() -> None:
    others = {
        httpx2.RequestError,
        httpx2.TransportError,
        httpx2.TimeoutException,
        httpx2.NetworkError,
        httpx2.ProtocolError,
        httpx2.SSEError,  # of a reader that is not used here
    }
    kinds = {
        kind
        for kind in vars(httpx2).values()
        if inspect.isclass(kind) and issubclass(kind, httpx2.RequestError)
    }
    assert kinds - others == {type(error) for error, _, _ in FAILURES}
