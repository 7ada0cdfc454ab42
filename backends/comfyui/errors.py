"""Errors of a ComfyUI server as sentences for the card: rejections, failures, HTTP statuses."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NotReady,
    OutOfMemory,
    ServiceFault,
    Unanswered,
    WrongKey,
)
from backends.http import self_hosted
from backends.http.self_hosted import SelfHostedServer
from backends.json_values import loads
from backends.settings import host_of
from backends.wording import service_message

if TYPE_CHECKING:
    import httpx2

MAX_ERRORS_NAMED = 3
"""How many errors of a workflow one sentence names."""
MAX_CHOICES_NAMED = 6
"""How many of an input's choices a sentence names."""


def rejected_nodes(answer: object) -> str:
    """Return the errors of nodes that an accepted prompt is executed without, "" if none.

    A prompt is accepted if any of its outputs is valid; the others are ignored (ComfyUI's
    execution.py, `validate_prompt`).
    """
    match answer:
        case {"node_errors": dict() as nodes} if nodes:
            return service_message(rejection_reason({"node_errors": nodes}))
        case _:
            return ""


def rejection_reason(answer: object) -> str:
    """Return why a workflow was rejected, "" where the answer does not say."""
    match answer:
        case {"node_errors": dict() as nodes, **_rest} if nodes:
            errors = list(_node_errors(cast(Mapping[str, Any], nodes)))
        case _:
            errors = []
    if errors:
        more = len(errors) - MAX_ERRORS_NAMED
        listed = "; ".join(errors[:MAX_ERRORS_NAMED])
        return f"{listed}{f'; and {more} more' if more > 0 else ''}."
    match answer:
        case {"error": {"type": "missing_node_type", "extra_info": {"class_type": str(kind)}}}:
            return f"it has no node {kind}. Install the extension that brings it there."
        case {"error": {"message": str(message), "details": str(more)}} if message or more:
            return ": ".join(filter(None, (message.rstrip("."), more)))
        case {"error": {"message": str(message)}} | {"error": str(message)} if message:
            return message
        case _:
            return ""


def execution_failed(data: Mapping[str, Any], server: str) -> BackendError:
    """Return the error for an `execution_error` message."""
    kind, node = data.get("node_type") or "a node", data.get("node_id")
    message = service_message(str(data.get("exception_message") or ""))
    if "OutOfMemory" in str(data.get("exception_type")) or _is_out_of_memory(message):
        return OutOfMemory(
            f"{server} has not enough graphics memory for {kind}. Ask for a smaller picture, "
            "or start it with --lowvram."
        )
    where = f"{kind} (node {node})" if node is not None else str(kind)
    return ServiceFault(f"{server} failed in {where}: {message}", charged=False)


def execution_interrupted(server: str) -> BackendError:
    """Return the error for an `execution_interrupted` message that was not requested here."""
    return ServiceFault(f"Somebody stopped this job on {_lower_first(server)}. Run it again.")


def prompt_lost(server: str) -> BackendError:
    """Return the error for a prompt that is neither in the queue nor in the history any more."""
    return ServiceFault(
        f"{server} no longer knows of this job: it was started anew, or somebody took the job out "
        "of its queue. Run it again."
    )


def connection_lost(server: SelfHostedServer, error: Exception, seconds: float) -> BackendError:
    """Return the error for a server that has a job and has not answered for so many `seconds`."""
    import httpx2

    if isinstance(error, httpx2.ConnectError):
        return Unanswered(
            f"Nothing answers at {host_of(server.url)} any more, for {seconds:.0f} s now: ComfyUI "
            "has ended or crashed there, or the way to it is broken. Look at it before you try "
            "again. It may be drawing still, and puts what it finishes into its output folder."
        )
    return Unanswered(
        f"{server.name} took the job and cannot be reached any more, for {seconds:.0f} s now. It "
        "may be drawing still, and puts what it finishes into its output folder: look at it "
        "before you try again."
    )


def no_picture(workflow: str, left_out: str = "", *, lost: bool = False) -> BackendError:
    """Return the error for a workflow that finished without a picture.

    `left_out` are the errors of nodes that the server has left out, `lost` says that pictures were
    sent over a websocket while it was closed.
    """
    if lost:
        return ServiceFault(
            f"The workflow {workflow} sent its picture over a connection that was broken at that "
            "moment, and keeps none. Run it again, or let it end in a SaveImage node."
        )
    if left_out:
        return ServiceFault(f"The workflow {workflow} ended without a picture: {left_out}")
    return ServiceFault(
        f"The workflow {workflow} ended without a picture. It needs a SaveImage node, or a node "
        'with the title "lineup: picture"; a PreviewImage node alone does not count.'
    )


def _node_errors(nodes: Mapping[str, Any]) -> Iterator[str]:
    for id, about in nodes.items():
        match about:
            case {"errors": list() as errors, **rest}:
                where = f"{rest.get('class_type') or 'a node'} (node {id})"
                yield from (_describe_error(where, error) for error in cast(list[object], errors))
            case _:
                yield f"node {id} has a fault"


def _describe_error(where: str, error: object) -> str:
    match error:
        case {
            "type": "value_not_in_list",
            "extra_info": {"input_name": str(input), "received_value": value, **rest},
        }:
            return f"{where} does not take “{value}” for {input}{_describe_choices(rest)}"
        case {
            "type": "value_smaller_than_min" | "value_bigger_than_max" as which,
            "extra_info": {"input_name": str(input), "received_value": value, **rest},
        }:
            least = which == "value_smaller_than_min"
            limit = _limit(rest, "min" if least else "max")
            allowed = "" if limit is None else f", {'at least' if least else 'at most'} {limit}"
            return f"{where} does not take {value} for {input}{allowed}"
        case {"type": "required_input_missing", "extra_info": {"input_name": str(input)}}:
            return f"{where} lacks its input {input}"
        case {"message": str(message), "details": str(more)} if more:
            return f"{where}: {message}: {more}"
        case {"message": str(message)}:
            return f"{where}: {message}"
        case _:
            return f"{where} has a fault"


def _describe_choices(rest: Mapping[str, Any]) -> str:
    match rest.get("input_config"):
        case [list() as choices, *_] | [_, {"options": list() as choices}, *_]:
            known = [str(choice) for choice in cast(list[object], choices)]
        case _:
            return ""
    if not known:
        return ", and has none to choose from"
    more = len(known) - MAX_CHOICES_NAMED
    listed = ", ".join(known[:MAX_CHOICES_NAMED])
    return f"; it takes {listed}{f' and {more} more' if more > 0 else ''}"


def _limit(rest: Mapping[str, Any], which: str) -> object | None:
    match rest.get("input_config"):
        case [_, dict() as limits, *_]:
            return cast(dict[str, object], limits).get(which)
        case _:
            return None


def _is_out_of_memory(message: str) -> bool:
    return "out of memory" in message.lower() or "allocation on device" in message.lower()


def _lower_first(server: str) -> str:
    return server[:1].lower() + server[1:]


def explain(error: Exception, server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Return `error` as a `BackendError` for the card; `sent` says whether a prompt was posted."""
    return self_hosted.explain(
        error, server, _explain_status, sent=sent, start="Start ComfyUI there", api="ComfyUI"
    )


def _explain_status(response: "httpx2.Response", server: SelfHostedServer) -> BackendError:
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
            message = service_message(rejection_reason(_json_or_none(response)), *server.secrets)
            return BadInput(f"{name} does not take the workflow: {message}")
        case _:
            return ServiceFault(f"{name} failed ({status}). Its console says why: look there.")


def _json_or_none(response: "httpx2.Response") -> Any:
    try:
        return loads(response.content)
    except ValueError:  # an HTML page has no reason to show
        return None
