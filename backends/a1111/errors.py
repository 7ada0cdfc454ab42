"""Errors of an AUTOMATIC1111 server as sentences for the card."""

from typing import TYPE_CHECKING, Any

from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NotReady,
    OutOfMemory,
    ServiceFault,
    WrongKey,
)
from backends.http import self_hosted
from backends.http.self_hosted import SelfHostedServer
from backends.json_values import loads
from backends.wording import NO_REASON, service_message

if TYPE_CHECKING:
    import httpx2


def explain(error: Exception, server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Return `error` as a `BackendError` for the card; `sent` says whether the job was posted."""
    return self_hosted.explain(
        error, server, _explain_status, sent=sent, start="Start it with --api", api="its API"
    )


def _explain_status(response: "httpx2.Response", server: SelfHostedServer) -> BackendError:
    status, name = response.status_code, server.name
    message = _server_message(response, server)
    match status:
        case 401 if not server.headers:
            return WrongKey(f"{name} wants a user and password: set A1111_USER and A1111_PASSWORD.")
        case 401:
            return WrongKey(
                f"{name} does not accept the user and password. "
                "Check A1111_USER and A1111_PASSWORD."
            )
        case 403:
            return Forbidden(
                f"{name}, or what stands before it, does not let this machine in: {message}"
            )
        case 404 | 405 if message in ("Not Found.", "Method Not Allowed.", NO_REASON):
            return NotReady(
                f"{name} has no API for pictures. Start it with --api, and check A1111_URL."
            )
        case _ if status < 500:
            return BadInput(f"{name} does not take this request: {message}")
        case _ if "out of memory" in message.lower() or "OutOfMemory" in message:
            return OutOfMemory(
                f"{name} has not enough graphics memory for this. Ask for a smaller picture, "
                "or start it with --medvram."
            )
        case _:
            return ServiceFault(f"{name} failed: {message}")


def _server_message(response: "httpx2.Response", server: SelfHostedServer) -> str:
    """Return the server's own message, redacted and ended as a sentence."""
    try:
        body: Any = loads(response.content)
    except ValueError:  # an HTML page has no reason to show
        body = None
    match body:
        case {"detail": [{"msg": str(message)}, *_]}:
            pass
        case {"detail": str(message)} if message:
            pass
        case {"errors": str(message), "error": str(kind)} if message or kind:
            message = message or kind
        case {"error": str(message)} | {"message": str(message)} | str(message):
            pass
        case _:
            message = ""
    return service_message(message, *server.secrets)
