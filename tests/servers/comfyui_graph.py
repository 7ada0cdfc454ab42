"""Nodes of the fake ComfyUI server: which exist, what they accept, in which order they run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.servers.comfyui_script import Kind

Graph = Mapping[str, Mapping[str, Any]]
OUTPUTS = ("SaveImage", "PreviewImage", "SaveImageWebsocket", "ImageKeeper", "ShowText")
"""Nodes with an output that is shown; the last two stand for those of extensions."""
NODES = (
    *OUTPUTS,
    "LoraLoader",
    "LoraLoaderModelOnly",
    "UNETLoader",
    "DualCLIPLoader",
    "DepthAnything",
    "DepthModelLoader",
    "WildcardEncode",
    "PrimitiveString",
    "CheckpointLoaderSimple",
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "VAEEncode",
    "LoadImage",
    "ImageScale",
    "Canny",
    "DepthMapper",
    "ControlNetLoader",
    "ControlNetApplyAdvanced",
)


def check(graph: Graph, kind: Kind, uploads: Mapping[str, bytes]) -> tuple[Any, list[str], Any]:
    """Return what the server finds: an error or None, the valid outputs, and errors by node.

    As `validate_prompt` of ComfyUI's execution.py: every node must exist, even one that no output
    needs; a prompt is accepted if any of its outputs is valid, and the others are ignored.
    """
    for id, node in graph.items():
        if node["class_type"] not in NODES:
            return _missing(kind, id, node), [], {}
    outputs = [id for id, node in graph.items() if node["class_type"] in OUTPUTS]
    if not outputs:
        return _error("prompt_no_outputs", "Prompt has no outputs"), [], {}
    needed = {id: order(graph, [id]) for id in outputs}
    found = {
        id: errors
        for id, node in graph.items()
        if any(id in nodes for nodes in needed.values())
        and (errors := _input_errors(node, kind, uploads))
    }
    errors_by_node = {
        id: {
            "errors": errors,
            "dependent_outputs": [output for output, nodes in needed.items() if id in nodes],
            "class_type": graph[id]["class_type"],
        }
        for id, errors in found.items()
    }
    good = [output for output, nodes in needed.items() if not found.keys() & set(nodes)]
    if good:
        return None, good, errors_by_node
    details = "\n".join(
        f"{error['message']}: {error['details']}" for errors in found.values() for error in errors
    )
    message = "Prompt outputs failed validation"
    return _error("prompt_outputs_failed_validation", message, details), [], errors_by_node


def _missing(kind: Kind, id: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the error for a node that does not exist, in the words of the server's time."""
    name, details = node["class_type"], f"Node ID '#{id}'"
    if kind.wording == 2024:
        message = f"Cannot execute because node {name} does not exist."
        return _error("invalid_prompt", message, details)
    about = {"node_id": id, "class_type": name}
    if kind.wording == 2025:
        return _error("missing_node_type", f"Node '{name}' not found.", details, about)
    title = node.get("_meta", {}).get("title", name)
    message = f"Node '{title}' not found. The custom node may not be installed."
    return _error("missing_node_type", message, details, {**about, "node_title": title})


def _error(
    kind: str, message: str, details: str = "", about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": about or {}}


def _input_errors(node: Mapping[str, Any], kind: Kind, uploads: Mapping[str, bytes]) -> list[Any]:
    choices: dict[str, tuple[str, ...]] = {
        "ckpt_name": kind.checkpoints,
        "control_net_name": kind.networks,
        "sampler_name": kind.samplers,
        "scheduler": kind.schedulers,
        "lora_name": kind.loras,
    }
    if node["class_type"] == "LoadImage":
        choices["image"] = tuple(uploads)
    errors: list[Any] = []
    for name, value in node["inputs"].items():
        if name in choices and value not in choices[name]:
            known = list(choices[name])
            is_long = len(known) > 20
            listed = f"(list of length {len(known)})" if is_long else known
            errors.append(
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": f"{name}: '{value}' not in {listed}",
                    "extra_info": {
                        "input_name": name,
                        "input_config": None if is_long else [known, {}],
                        "received_value": value,
                    },
                }
            )
        if name == "steps" and value > 10_000:
            errors.append(
                {
                    "type": "value_bigger_than_max",
                    "message": "Value 10001 bigger than max of 10000",
                    "details": "steps",
                    "extra_info": {
                        "input_name": "steps",
                        "input_config": ["INT", {"default": 20, "min": 1, "max": 10_000}],
                        "received_value": value,
                    },
                }
            )
    return errors


def order(graph: Graph, outputs: Sequence[str]) -> list[str]:
    """Return the nodes that `outputs` need, each after those that it depends on."""
    done: list[str] = []

    def visit(id: str) -> None:
        for value in graph[id]["inputs"].values():
            if isinstance(value, list) and str(value[0]) in graph:  # pyright: ignore[reportUnknownArgumentType]
                visit(str(value[0]))  # pyright: ignore[reportUnknownArgumentType]
        if id not in done:
            done.append(id)

    for id in outputs:
        visit(id)
    return done


def signature(graph: Graph, id: str) -> str:
    """Return a key of a node's output: equal keys mean equal outputs."""
    node = graph[id]
    inputs: dict[str, Any] = {}
    for name, value in node["inputs"].items():
        linked = isinstance(value, list)
        inputs[name] = signature(graph, str(value[0])) if linked else value  # pyright: ignore[reportUnknownArgumentType]
    return json.dumps([node["class_type"], inputs], sort_keys=True)


def info(kind: Kind, node: str) -> dict[str, Any]:
    """Return the response to `GET /object_info/NODE`, {} for a node that does not exist."""
    match node:
        case "CheckpointLoaderSimple":
            required = {"ckpt_name": [list(kind.checkpoints), {"tooltip": "The checkpoint."}]}
        case "ControlNetLoader":
            required = {"control_net_name": ["COMBO", {"options": list(kind.networks)}]}
        case "LoraLoader":
            required = {"model": ["MODEL"], "lora_name": [list(kind.loras)]}
        case "VAEEncode":
            required = {"pixels": ["IMAGE"]}
        case _ if node in OUTPUTS:
            required = {"images": ["STRING" if node == "ShowText" else "IMAGE", {}]}
        case _ if node in NODES:
            required = {}
        case _:
            return {}
    described = {"input": {"required": required}, "name": node, "output": []}
    return {node: {**described, "output_node": node in OUTPUTS}}
