"""What a ComfyUI server has against a workflow, and what went wrong in one, in words.

Every failure of a ComfyUI server, as a sentence for the card.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

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
from backends.wording import service_message

if TYPE_CHECKING:
    import httpx2

MAX_ERRORS_NAMED = 3
"""How many faults one sentence names."""
MAX_CHOICES_NAMED = 6
"""How many of an input's choices it names."""


def rejection_reason(answer: object) -> str:
    """Return why a workflow was not taken."""
    match answer:
        case {"node_errors": dict() as nodes, **_rest} if nodes:
            faults = list(_node_errors(cast(Mapping[str, Any], nodes)))
        case _:
            faults = []
    if faults:
        more = len(faults) - MAX_ERRORS_NAMED
        listed = "; ".join(faults[:MAX_ERRORS_NAMED])
        return f"{listed}{f'; and {more} more' if more > 0 else ''}."
    match answer:
        case {"error": {"type": "missing_node_type", "extra_info": {"class_type": str(kind)}}}:
            return f"it has no node {kind}. Install the extension that brings it there."
        case {"error": {"message": str(said), "details": str(more)}} if said or more:
            return ": ".join(filter(None, (said.rstrip("."), more)))
        case {"error": {"message": str(said)}} | {"error": str(said)} if said:
            return said
        case _:
            return ""


def execution_failed(data: Mapping[str, Any], server: str) -> BackendError:
    """Return what an `execution_error` means."""
    kind, node = data.get("node_type") or "a node", data.get("node_id")
    said = service_message(str(data.get("exception_message") or ""))
    if "OutOfMemory" in str(data.get("exception_type")) or _is_out_of_memory(said):
        return OutOfMemory(
            f"{server} has not enough graphics memory for {kind}. Ask for a smaller picture, "
            "or start it with --lowvram."
        )
    where = f"{kind} (node {node})" if node is not None else str(kind)
    return ServiceFault(f"{server} failed in {where}: {said}", charged=False)


def execution_interrupted(server: str) -> BackendError:
    """Return what an `execution_interrupted` means that nobody here has asked for."""
    return ServiceFault(f"Somebody stopped this job on {_lower_first(server)}. Run it again.")


def prompt_lost(server: str) -> BackendError:
    """Return what it means that a job is nowhere on the server any more."""
    return ServiceFault(
        f"{server} no longer knows of this job: it was started anew, or somebody took the job out "
        "of its queue. Run it again."
    )


def no_picture(workflow: str) -> BackendError:
    """Return what it means that a workflow ended without a picture."""
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
        case {"message": str(said), "details": str(more)} if more:
            return f"{where}: {said}: {more}"
        case {"message": str(said)}:
            return f"{where}: {said}"
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
    return f"; it takes {', '.join(known[:MAX_CHOICES_NAMED])}{f' and {more} more' if more > 0 else ''}"


def _limit(rest: Mapping[str, Any], which: str) -> object | None:
    match rest.get("input_config"):
        case [_, dict() as limits, *_]:
            return cast(dict[str, object], limits).get(which)
        case _:
            return None


def _is_out_of_memory(said: str) -> bool:
    return "out of memory" in said.lower() or "allocation on device" in said.lower()


def _lower_first(server: str) -> str:
    return server[:1].lower() + server[1:]


def explain(error: Exception, server: SelfHostedServer, *, sent: bool) -> BackendError:
    """Return what `error` means for the person at the card; `sent` says how far the job was."""
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
            said = service_message(rejection_reason(_json_or_none(response)), *server.secrets)
            return BadInput(f"{name} does not take the workflow: {said}")
        case _:
            return ServiceFault(f"{name} failed ({status}). Its console says why: look there.")


def _json_or_none(response: "httpx2.Response") -> Any:
    try:
        return response.json()
    except ValueError:  # a page for a browser says nothing
        return None
