"""Errors of a ComfyUI server as sentences for the card: rejections, failures, HTTP statuses."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

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
from backends.json_values import loads, mapping, text
from backends.settings import host_of
from backends.wording import service_message

if TYPE_CHECKING:
    import httpx2

MAX_ERRORS_NAMED = 3
"""How many errors of a workflow one sentence names."""
MAX_CHOICES_NAMED = 6
"""How many of an input's choices a sentence names."""
MAX_ERRORS = 260
MAX_ERROR = 280
MAX_VALUE = 40
MAX_CHOICES = 90
"""Characters of several errors, of a single one, of a value or a name in it, and of the choices:
together they end before a sentence is cut, which would take the number of what is not named."""


def rejection(answer: object, server: SelfHostedServer) -> BackendError | None:
    """Return the error for an answer that rejects a workflow, None for one that accepts it.

    A proxy may turn the status of a rejection into 200.
    """
    if text(mapping(answer).get("prompt_id")) or not (reason := rejection_reason(answer)):
        return None
    message = service_message(reason, *server.secrets)
    return BadInput(f"{server.name} does not take the workflow: {message}")


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
        # Nothing shortens what follows: the second and the third error only where there is room.
        named = errors[:1]
        for error in errors[1:MAX_ERRORS_NAMED]:
            if sum(map(len, named)) + len(error) <= MAX_ERRORS:
                named.append(error)
        more = len(errors) - len(named)
        return f"{'; '.join(named)}{f'; and {more} more' if more > 0 else ''}."
    match answer:
        case {"error": dict() as error} if missing := _missing_node(cast(dict[str, Any], error)):
            return missing
        case {"error": {"message": str(message), "details": str(more)}} if message or more:
            return ": ".join(filter(None, (message.rstrip("."), more)))
        case {"error": {"message": str(message)}} | {"error": str(message)} if message:
            return message
        case _:
            return ""


_MISSING_NODE = re.compile(
    r"\bnode (?:type )?['\"“]?(?P<name>[^'\"”]+?)['\"”]? (?:does not exist|(?:was )?not found)",
    re.IGNORECASE,
)
_SUBGRAPH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|workflow[>/].+", re.IGNORECASE)
"""Classes of the boxes of subgraphs (an id) and of group nodes, which no server knows."""


def _missing_node(error: Mapping[str, Any]) -> str:
    """Return the reason for a node that the server does not have, "" for another error.

    Servers word it as "Cannot execute because node X does not exist." (until 2025), "Node 'X' not
    found.", "Node 'TITLE' not found. The custom node may not be installed.", and "has no
    class_type" where they know only its id. The newer ones add a type, the class and the title.
    """
    about = mapping(error.get("extra_info"))
    message = text(error.get("message")) or ""
    found = _MISSING_NODE.search(message)
    if error.get("type") != "missing_node_type" and not found and "class_type" not in message:
        return ""
    title, where = text(about.get("node_title")), text(error.get("details"))
    kind = text(about.get("class_type")) or (found["name"] if found else None)
    if kind is None:
        name = f"the node “{_clip(title)}”" if title else f"a node ({where or 'without a name'})"
        return f"{name} has no class. Export the workflow from ComfyUI again."
    if _SUBGRAPH.fullmatch(kind):
        name = f" “{_clip(title)}”" if title and title != kind else ""
        return (
            f"a group of nodes{name} was exported as one node. Unpack it in ComfyUI, or bring that "
            "up to date, and export the workflow again."
        )
    which = f" The node is titled “{_clip(title)}”." if title and title != kind else ""
    return f"it has no node {kind}. Install the extension that brings it there.{which}"


def _clip(text: object, most: int = MAX_VALUE) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


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
                where = f"{_clip(rest.get('class_type') or 'a node')} (node {_clip(id, 20)})"
                found = (_describe_error(where, error) for error in cast(list[object], errors))
                yield from (_clip(error, MAX_ERROR) for error in found)
            case _:
                yield f"node {id} has a fault"


def _describe_error(where: str, error: object) -> str:
    match error:
        case {
            "type": "value_not_in_list",
            "extra_info": {"input_name": str(input), "received_value": value},
        }:
            refused = f"{where} does not take “{_clip(value)}” for {_clip(input, 30)}"
            return refused + _describe_choices(error)
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


_LENGTH = re.compile(r"list of length (\d+)")


def _describe_choices(error: object) -> str:
    about = mapping(mapping(error).get("extra_info"))
    match about.get("input_config"):
        case [list() as choices, *_] | [_, {"options": list() as choices}, *_]:
            known = [_clip(choice) for choice in cast(list[object], choices)]
        case _:  # of a long list newer servers tell only the length
            length = _LENGTH.search(str(mapping(error).get("details")))
            return f"; it takes one of {length[1]} others" if length else ""
    if not known:
        return ", and has none to choose from"
    named: list[str] = []
    for choice in known[:MAX_CHOICES_NAMED]:
        if sum(map(len, named)) + len(choice) > MAX_CHOICES:
            break
        named.append(choice)
    more = len(known) - len(named)
    return f"; it takes {', '.join(named)}{f' and {more} more' if more > 0 else ''}"


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
            if path := urlsplit(server.url).path:
                name, advice = f"{name}{path}", "Check COMFYUI_URL, its path as well"
            else:
                advice = "Check COMFYUI_URL"
            return NotReady(f"{name} is no ComfyUI server. {advice}.")
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
