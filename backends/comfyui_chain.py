"""Several control pictures in one ComfyUI workflow: each steers what the one before has steered."""

from collections.abc import Mapping
from typing import Any

from backends.comfyui.placeholders import NUMBERED, numbered
from backends.comfyui.workflow import Graph, Place, Workflow, copied, link

_APPLY = "ControlNetApplyAdvanced"
_STEERED = ("positive", "negative")
"""The inputs that the apply node gives on, as its outputs 0 and 1."""


def chained(workflow: Workflow, number: int) -> Workflow:
    """Return a workflow with `number` controls in a row, from one that has a single control.

    The places of the second are numbered ("control picture 2"), as they are where users mark them.
    """
    graph = copied(workflow.graph)
    (first,) = [id for id, node in graph.items() if node["class_type"] == _APPLY]
    part = _part(graph, first)
    places, marked, last = dict(workflow.places), dict(workflow.marked), first
    for place in range(2, number + 1):
        ids = {id: f"{id}-{place}" for id in part}
        for id, twin in ids.items():
            graph[twin] = _twin(workflow.graph[id], ids)
        for output, name in enumerate(_STEERED):
            graph[ids[first]]["inputs"][name] = [last, output]
        last = ids[first]
        for name, found in workflow.places.items():
            twins = tuple(Place(ids[at.node], at.input) for at in found if at.node in part)
            key = numbered(name, place) if name in NUMBERED else name
            places[key] = (*places.get(key, ()), *twins)
        for name, nodes in workflow.marked.items():
            twins = tuple(ids[id] for id in nodes if id in part)
            if twins:
                marked[numbered(name, place)] = twins
    for id, node in workflow.graph.items():
        if id not in part:
            graph[id]["inputs"] |= {
                name: [last, value[1]]
                for name, value in node["inputs"].items()
                if link(value) == first
            }
    return Workflow(workflow.name, graph, places, marked)


def _part(graph: Graph, apply: str) -> frozenset[str]:
    """The nodes of one control: what applies it, and what only feeds that."""
    found, look = {apply}, [apply]
    while look:
        for name, value in graph[look.pop()]["inputs"].items():
            source = link(value)
            if source is not None and name not in _STEERED and source not in found:
                found.add(source)
                look.append(source)
    return frozenset(found)


def _twin(node: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    inputs = dict(node["inputs"])
    for name, value in inputs.items():
        source = link(value)
        if source is not None and source in ids:
            inputs[name] = [ids[source], value[1]]
    return {**node, "inputs": inputs}
