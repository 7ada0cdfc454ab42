"""A ComfyUI workflow in API format, with marked places for what a request says.

A place is marked in the title of a node, as the editor shows it: "lineup: prompt". One title may
mark several places ("lineup: seed, steps"), several nodes may mark the same one, and where a node
has several inputs that fit, the mark names one ("lineup: prompt (text_g)").

Several control pictures in one ComfyUI workflow: each steers what the one before has steered.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from backends.base import Value
from backends.comfyui.placeholders import (
    NODE_TAGS,
    NUMBERED,
    Tag,
    find_inputs,
    numbered,
    parse_tags,
)
from backends.errors import BadInput

Graph: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NodeInput:
    """An input of a node."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow and its places; `marked` has the nodes that a mark is about as a whole."""

    name: str
    graph: Graph = field(repr=False)
    placeholders: Mapping[str, tuple[NodeInput, ...]]
    tagged_nodes: Mapping[str, tuple[str, ...]]

    def current(self, place: str) -> Value:
        """Return what the workflow itself has at a place, None where that is no plain value."""
        for at in self.placeholders.get(place, ()):
            value = self.graph[at.node]["inputs"].get(at.input)
            if isinstance(value, str | int | float):
                return value
        return None

    def fill(self, values: Mapping[str, Value]) -> Graph:
        """Return the graph with `values` at their places; None leaves what is there."""
        graph = copy_graph(self.graph)
        for name, value in values.items():
            for at in self.placeholders.get(name, ()) if value is not None else ():
                graph[at.node]["inputs"][at.input] = value
        return graph


def parse(text: str, name: str) -> Workflow:
    """Read a workflow.

    Raises:
        BadInput: it is none in API format, a mark makes no sense, or none is for the prompt.
    """
    graph = _parse_graph(text, name)
    places: dict[str, list[NodeInput]] = {}
    marked: dict[str, list[str]] = {}
    for id, node in graph.items():
        for mark in parse_tags(id, node, name):
            if mark.name in NODE_TAGS:
                marked.setdefault(numbered(mark.name, mark.index), []).append(id)
            for each in () if mark.name in NODE_TAGS else mark.places:
                found = find_inputs(each, mark.input, node["inputs"])
                # "control" is for whichever of its three the node has.
                if not found and mark.name != "control":
                    raise BadInput(_no_such_input(id, node, mark, name))
                places.setdefault(each, []).extend(NodeInput(id, input) for input in found)
    if not places.get("prompt"):
        raise BadInput(
            f"The workflow {name} has no place for the prompt. Give the node that takes it the "
            'title "lineup: prompt" in ComfyUI, and export the workflow again.'
        )
    return Workflow(
        name,
        graph,
        {place: tuple(found) for place, found in places.items() if found},
        {mark: tuple(found) for mark, found in marked.items()},
    )


def bypass(graph: Graph, nodes: Iterable[str]) -> Graph:
    """Return `graph` with each of `nodes` taken out: its picture goes on as it came in.

    A node that takes no picture stays.
    """
    graph = copy_graph(graph)
    for id in nodes:
        source = graph[id]["inputs"].get("image")
        if not linked_node(source):
            continue
        del graph[id]
        for node in graph.values():
            inputs = node["inputs"]
            inputs |= {key: source for key, value in inputs.items() if linked_node(value) == id}
    return graph


def linked_node(value: object) -> str | None:
    """Return the node that an input is taken from, None where it is a value of its own."""
    match value:
        case [str(node), int()]:
            return node
        case _:
            return None


def copy_graph(graph: Graph) -> Graph:
    """Return a copy whose inputs can be set."""
    return {id: {**node, "inputs": dict(node["inputs"])} for id, node in graph.items()}


def _parse_graph(text: str, name: str) -> Graph:
    try:
        read: object = json.loads(text)
        # Half a letter ("\ud83d") can be neither shown nor sent.
        json.dumps(read, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The workflow {name} is not JSON. Export it from ComfyUI again.") from error
    table = cast(dict[str, Any], read) if isinstance(read, dict) else {}
    if not table or not all(_is_node(node) for node in table.values()):
        raise BadInput(
            f"The workflow {name} is not in API format. Open it in ComfyUI, choose "
            "Workflow > Export (API), and keep that file instead."
        )
    return table


def _is_node(node: object) -> bool:
    match node:
        case {"class_type": str(), "inputs": dict()}:
            return True
        case _:
            return False


def _no_such_input(id: str, node: Mapping[str, Any], mark: Tag, name: str) -> str:
    what = f"input {mark.input}" if mark.input else f"input that fits {mark.name}"
    known = ", ".join(node["inputs"]) or "none at all"
    return (
        f'The workflow {name} marks node {id} ({node["class_type"]}) with "lineup: {mark.name}", '
        f"but it has no {what}; it has {known}. Name one in brackets, or mark another node."
    )


_APPLY_NODE = "ControlNetApplyAdvanced"
_CONDITIONING = ("positive", "negative")
"""The inputs that the apply node gives on, as its outputs 0 and 1."""


def with_controls(workflow: Workflow, number: int) -> Workflow:
    """Return a workflow with `number` controls in a row, from one that has a single control.

    The places of the second are numbered ("control picture 2"), as they are where users mark them.
    """
    graph = copy_graph(workflow.graph)
    (first,) = [id for id, node in graph.items() if node["class_type"] == _APPLY_NODE]
    part = _control_nodes(graph, first)
    places, marked, last = dict(workflow.placeholders), dict(workflow.tagged_nodes), first
    for place in range(2, number + 1):
        ids = {id: f"{id}-{place}" for id in part}
        for id, twin in ids.items():
            graph[twin] = _copy_node(workflow.graph[id], ids)
        for output, name in enumerate(_CONDITIONING):
            graph[ids[first]]["inputs"][name] = [last, output]
        last = ids[first]
        for name, found in workflow.placeholders.items():
            twins = tuple(NodeInput(ids[at.node], at.input) for at in found if at.node in part)
            key = numbered(name, place) if name in NUMBERED else name
            places[key] = (*places.get(key, ()), *twins)
        for name, nodes in workflow.tagged_nodes.items():
            twins = tuple(ids[id] for id in nodes if id in part)
            if twins:
                marked[numbered(name, place)] = twins
    for id, node in workflow.graph.items():
        if id not in part:
            graph[id]["inputs"] |= {
                name: [last, value[1]]
                for name, value in node["inputs"].items()
                if linked_node(value) == first
            }
    return Workflow(workflow.name, graph, places, marked)


def _control_nodes(graph: Graph, apply: str) -> frozenset[str]:
    """The nodes of one control: what applies it, and what only feeds that."""
    found, look = {apply}, [apply]
    while look:
        for name, value in graph[look.pop()]["inputs"].items():
            source = linked_node(value)
            if source is not None and name not in _CONDITIONING and source not in found:
                found.add(source)
                look.append(source)
    return frozenset(found)


def _copy_node(node: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    inputs = dict(node["inputs"])
    for name, value in inputs.items():
        source = linked_node(value)
        if source is not None and source in ids:
            inputs[name] = [ids[source], value[1]]
    return {**node, "inputs": inputs}
