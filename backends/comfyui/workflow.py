"""A ComfyUI workflow in API format whose inputs are filled from a request.

Users tag nodes in their titles, as the editor shows them: "lineup: prompt". One title may hold
several tags ("lineup: seed, steps"), several nodes may carry the same tag, and where a node has
several inputs that fit, the tag names one ("lineup: prompt (text_g)").

A workflow with one ControlNet is extended to several in a chain: each takes the conditioning that
the one before it gives out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from backends.base import Value
from backends.comfyui.placeholders import (
    NODE_TAGS,
    NUMBERED,
    PROMPT,
    RESULT,
    Placeholder,
    Tag,
    find_inputs,
    parse_tags,
)
from backends.errors import BadInput

Graph: TypeAlias = dict[str, dict[str, Any]]

WEBSOCKET_OUTPUT_NODE: Final = "SaveImageWebsocket"
"""Class of the node that sends finished pictures over the websocket and saves none."""


SEEDS: Final = 2**64
"""The number of seeds that ComfyUI's samplers take, from 0 on."""
SEED_INPUTS: Final = frozenset({"seed", "noise_seed"})
NOT_EXPORTED: Final = (
    "ComfyUI does not export primitive nodes, the boxes of subgraphs, and nodes that are muted or "
    "bypassed: a mark on one of these is lost. Mark the node that it leads to, or one inside the "
    "subgraph."
)
SAVING: Final = ("SaveImage", WEBSOCKET_OUTPUT_NODE)
"""The classes of nodes whose pictures are results without a tag."""
_WITHOUT_RESULT: Final = re.compile(
    r"(?!.*save).*preview.*|VAE(Decode|Encode)\w*|VAELoader|KSampler(Advanced|Select)?"
    r"|SamplerCustom(Advanced)?|CLIPTextEncode\w*|\w*CLIPLoader|UNETLoader|Empty\w*LatentImage"
    r"|LoadImage(Mask)?|CheckpointLoaderSimple|ControlNet(Loader|Apply|ApplyAdvanced)"
    r"|Conditioning\w+|LoraLoader(ModelOnly)?|Latent\w+|ImageScale\w*|Canny|Primitive\w+|Reroute"
    r"|FluxGuidance|BasicScheduler|BasicGuider|RandomNoise"
    r"|SaveLatent|SaveAudio\w*|SaveGLB|SaveVideo|SaveWEBM|CheckpointSave",
    re.IGNORECASE,
)
"""Classes that put out no picture, or only a temporary one. What is missing here is asked for."""
_NEVER: Final = 3


@dataclass(frozen=True, slots=True)
class NodeInput:
    """An input of a node, by the node's id and the input's name."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow, the inputs of its placeholders, and the ids of nodes that are tagged as a whole.

    The keys of `tagged_nodes` are `PREPROCESSOR` (for each control) and `RESULT`.
    """

    name: str
    graph: Graph = field(repr=False)
    placeholders: Mapping[Placeholder, tuple[NodeInput, ...]]
    tagged_nodes: Mapping[Placeholder, tuple[str, ...]]

    def current(self, placeholder: Placeholder) -> Value:
        """Return the placeholder's current value, or None if the input is linked to a node."""
        for target in self.placeholders.get(placeholder, ()):
            value = self.graph[target.node]["inputs"].get(target.input)
            if isinstance(value, str | int | float):
                return value
        return None

    def picture_nodes(self) -> Iterator[str]:
        """Yield the ids of the nodes whose pictures may be results, the surest first.

        Those are the tagged ones alone, if there are any. Any other node may save pictures, unless
        it is known to save none: only the server knows the nodes of extensions.
        """
        if tagged := self.tagged_nodes.get(RESULT):
            yield from tagged
            return
        linked = {
            source
            for node in self.graph.values()
            for value in node["inputs"].values()
            if (source := linked_node(value)) is not None
        }
        ranked = ((_output_rank(id, node, linked), id) for id, node in self.graph.items())
        yield from (id for rank, id in sorted(ranked) if rank < _NEVER)

    def class_of(self, node: str) -> str:
        """Return the class of a node by its id."""
        return str(self.graph[node]["class_type"])

    def fill(self, values: Mapping[Placeholder, Value]) -> Graph:
        """Return a copy of the graph with `values` set; None leaves the workflow's own value."""
        graph = copy_graph(self.graph)
        for placeholder, value in values.items():
            for target in self.placeholders.get(placeholder, ()) if value is not None else ():
                graph[target.node]["inputs"][target.input] = value
        return graph


def parse(text: str, name: str) -> Workflow:
    """Parse the JSON of a workflow.

    Raises:
        BadInput: it is not in API format, a tag is invalid, no tag stands for the prompt, or none
            of its nodes can put out a picture.
    """
    graph = _parse_graph(text, name)
    placeholders: dict[Placeholder, list[NodeInput]] = {}
    tagged_nodes: dict[Placeholder, list[str]] = {}
    for id, node in graph.items():
        for tag in parse_tags(id, node, name):
            if tag.name in NODE_TAGS:
                tagged_nodes.setdefault(Placeholder(tag.name, tag.index), []).append(id)
            for placeholder in () if tag.name in NODE_TAGS else tag.placeholders:
                found = find_inputs(placeholder, tag.input, node["inputs"])
                # "control" stands for those of its three inputs that the node has.
                if not found and tag.name != "control":
                    raise BadInput(_no_such_input(id, node, tag, name))
                targets = placeholders.setdefault(placeholder, [])
                targets.extend(NodeInput(id, input) for input in found)
    if not placeholders.get(PROMPT):
        raise BadInput(
            f"The workflow {name} has no place for the prompt. Give the node that takes it the "
            f'title "lineup: prompt" in ComfyUI, and export the workflow again. {NOT_EXPORTED}'
        )
    workflow = Workflow(
        name,
        graph,
        {key: tuple(targets) for key, targets in placeholders.items() if targets},
        {key: tuple(ids) for key, ids in tagged_nodes.items()},
    )
    if not any(workflow.picture_nodes()):
        raise BadInput(no_picture_output(name))
    return workflow


def no_picture_output(name: str, tagged: str = "") -> str:
    """Return the sentence for a workflow without any node that puts out a picture.

    `tagged` are the classes of nodes that are tagged for it and put out none.
    """
    if tagged:
        return (
            f'The workflow {name} marks {tagged} with "lineup: picture", and that puts out no '
            "picture. Mark a SaveImage or PreviewImage node instead."
        )
    return (
        f"The workflow {name} puts out no picture. It needs a SaveImage node, or a node with the "
        'title "lineup: picture"; a PreviewImage node alone does not count.'
    )


def _output_rank(id: str, node: Mapping[str, Any], linked: Set[str]) -> int:
    """Return how likely a node puts out a picture: 0 for sure, `_NEVER` not at all."""
    kind = str(node["class_type"])
    if kind in SAVING:
        return 0
    if _WITHOUT_RESULT.fullmatch(kind):
        return _NEVER
    return 2 if id in linked else 1


def bypass(graph: Graph, nodes: Iterable[str]) -> Graph:
    """Return a copy of `graph` without `nodes`, the picture of each passed on unchanged.

    A node without a linked input `image` stays.
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
    """Return the id of the node that an input is linked to, None for a plain value."""
    match value:
        case [str(node), int()]:
            return node
        case _:
            return None


def copy_graph(graph: Graph) -> Graph:
    """Return a copy of `graph` whose inputs can be changed without changing the original."""
    return {id: {**node, "inputs": dict(node["inputs"])} for id, node in graph.items()}


def _parse_graph(text: str, name: str) -> Graph:
    try:
        read: object = json.loads(text)
        # A lone surrogate ("\ud83d") can be neither shown nor sent.
        json.dumps(read, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The workflow {name} is not JSON. Export it from ComfyUI again.") from error
    table = cast(dict[str, Any], read) if isinstance(read, dict) else {}
    if not table or not all(_is_node(node) for node in table.values()):
        raise BadInput(
            f"The workflow {name} is not in API format. Open it in ComfyUI, choose "
            "Workflow > Export (API), and keep that file instead."
        )
    for node in table.values():
        inputs: dict[str, object] = node["inputs"]
        inputs |= {name: _whole_seed(inputs[name]) for name in SEED_INPUTS & inputs.keys()}
    return table


def _whole_seed(value: object) -> object:
    """Return a seed as a whole number of 64 bits; a link stays.

    Browsers write whole numbers beyond 2**53 rounded, some as 1.8446744073709552e+19: the largest
    seed becomes one that the server refuses.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return value
    return int(min(max(value, -SEEDS), SEEDS - 1))


def _is_node(node: object) -> bool:
    match node:
        case {"class_type": str(), "inputs": dict()}:
            return True
        case _:
            return False


def _no_such_input(id: str, node: Mapping[str, Any], tag: Tag, name: str) -> str:
    what = f"input {tag.input}" if tag.input else f"input that fits {tag.name}"
    known = ", ".join(node["inputs"]) or "none at all"
    return (
        f'The workflow {name} marks node {id} ({node["class_type"]}) with "lineup: {tag.name}", '
        f"but it has no {what}; it has {known}. Name one in brackets, or mark another node."
    )


_APPLY_NODE = "ControlNetApplyAdvanced"
_CONDITIONING = ("positive", "negative")
"""The inputs of the apply node that it passes on as its outputs 0 and 1."""


def with_controls(workflow: Workflow, number: int) -> Workflow:
    """Return a workflow with `number` controls in a chain, made from one with a single control.

    The nodes of the first control are copied for each further one. The placeholders of the second
    have the index 2, as they do where users tag them ("control picture 2").
    """
    graph = copy_graph(workflow.graph)
    (first,) = [id for id, node in graph.items() if node["class_type"] == _APPLY_NODE]
    control_nodes = _control_nodes(graph, first)
    placeholders, tagged_nodes = dict(workflow.placeholders), dict(workflow.tagged_nodes)
    last = first
    for index in range(2, number + 1):
        copies = {id: f"{id}-{index}" for id in control_nodes}
        for id, copy in copies.items():
            graph[copy] = _copy_node(workflow.graph[id], copies)
        for output, name in enumerate(_CONDITIONING):
            graph[copies[first]]["inputs"][name] = [last, output]
        last = copies[first]
        for placeholder, targets in workflow.placeholders.items():
            copied = tuple(
                NodeInput(copies[target.node], target.input)
                for target in targets
                if target.node in control_nodes
            )
            numbered = placeholder.name in NUMBERED
            key = placeholder.for_control(index) if numbered else placeholder
            placeholders[key] = (*placeholders.get(key, ()), *copied)
        for placeholder, nodes in workflow.tagged_nodes.items():
            tagged = tuple(copies[id] for id in nodes if id in control_nodes)
            if tagged:
                tagged_nodes[placeholder.for_control(index)] = tagged
    for id, node in workflow.graph.items():
        if id not in control_nodes:
            graph[id]["inputs"] |= {
                name: [last, value[1]]
                for name, value in node["inputs"].items()
                if linked_node(value) == first
            }
    return Workflow(workflow.name, graph, placeholders, tagged_nodes)


def _control_nodes(graph: Graph, apply_node: str) -> frozenset[str]:
    """Return the nodes of one control: the apply node and all that feed it but its conditioning."""
    found, pending = {apply_node}, [apply_node]
    while pending:
        for name, value in graph[pending.pop()]["inputs"].items():
            source = linked_node(value)
            if source is not None and name not in _CONDITIONING and source not in found:
                found.add(source)
                pending.append(source)
    return frozenset(found)


def _copy_node(node: Mapping[str, Any], copies: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy of `node` whose links lead to the `copies` of nodes, by their old ids."""
    inputs = dict(node["inputs"])
    for name, value in inputs.items():
        source = linked_node(value)
        if source is not None and source in copies:
            inputs[name] = [copies[source], value[1]]
    return {**node, "inputs": inputs}
