"""Every failure of a ComfyUI server, as a sentence for the card."""

from typing import TYPE_CHECKING, Any

from backends import own_server_errors
from backends.comfyui.errors import refusal
from backends.errors import BackendError, BadInput, Forbidden, NotReady, ServiceFault, WrongKey
from backends.http.self_hosted import OwnServer
from backends.wording import sentence

if TYPE_CHECKING:
    import httpx2


def explain(error: Exception, server: OwnServer, *, sent: bool) -> BackendError:
    """Return what `error` means for the person at the card; `sent` says how far the job was."""
    return own_server_errors.explain(
        error, server, _answered, sent=sent, start="Start ComfyUI there", api="ComfyUI"
    )


def _answered(response: "httpx2.Response", server: OwnServer) -> BackendError:
    status, name = response.status_code, server.name
    match status:
        case 401 if not server.headers:
            return WrongKey(
                f"{name} wants to know who asks: set COMFYUI_USER and COMFYUI_PASSWORD, "
                "or COMFYUI_TOKEN."
            )
        case 401:
            return WrongKey(
                f"{name} does not accept the user and password, or the token. "
                "Check COMFYUI_USER and COMFYUI_PASSWORD, or COMFYUI_TOKEN."
            )
        case 403:
            return Forbidden(
                f"{name}, or what stands before it, does not let this machine in. "
                "Look at its settings."
            )
        case 404 | 405:
            return NotReady(f"{name} is no ComfyUI server. Check COMFYUI_URL.")
        case _ if status < 500:
            said = sentence(refusal(_json(response)), *server.secrets)
            return BadInput(f"{name} does not take the workflow: {said}")
        case _:
            return ServiceFault(f"{name} failed ({status}). Its console says why: look there.")


def _json(response: "httpx2.Response") -> Any:
    try:
        return response.json()
    except ValueError:  # a page for a browser says nothing
        return None
