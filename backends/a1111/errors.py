"""Every failure of an AUTOMATIC1111 server, as a sentence for the card."""

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
from backends.wording import NO_REASON, service_message

if TYPE_CHECKING:
    import httpx2


def explain(error: Exception, server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Return what `error` means for the person at the card; `sent` says how far the job was."""
    return self_hosted.explain(
        error, server, _explain_status, sent=sent, start="Start it with --api", api="its API"
    )


def _explain_status(response: "httpx2.Response", server: SelfHostedServer) -> BackendError:
    status, name = response.status_code, server.name
    said = _server_message(response, server)
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
                f"{name}, or what stands before it, does not let this machine in: {said}"
            )
        case 404 | 405 if said in ("Not Found.", "Method Not Allowed.", NO_REASON):
            return NotReady(
                f"{name} has no API for pictures. Start it with --api, and check A1111_URL."
            )
        case _ if status < 500:
            return BadInput(f"{name} does not take this request: {said}")
        case _ if "out of memory" in said.lower() or "OutOfMemory" in said:
            return OutOfMemory(
                f"{name} has not enough graphics memory for this. Ask for a smaller picture, "
                "or start it with --medvram."
            )
        case _:
            return ServiceFault(f"{name} failed: {said}")


def _server_message(response: "httpx2.Response", server: SelfHostedServer) -> str:
    """The server's own words, as a sentence ends."""
    try:
        body: Any = response.json()
    except ValueError:  # a page for a browser says nothing
        body = None
    match body:
        case {"detail": [{"msg": str(said)}, *_]}:
            pass
        case {"detail": str(said)} if said:
            pass
        case {"errors": str(said), "error": str(kind)} if said or kind:
            said = said or kind
        case {"error": str(said)} | {"message": str(said)} | str(said):
            pass
        case _:
            said = ""
    return service_message(said, *server.secrets)
