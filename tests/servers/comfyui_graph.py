"""Nodes of the fake ComfyUI server: which exist, what they accept, in which order they run."""

import json
from collections.abc import Mapping
from typing import Any

from tests.servers.comfyui_script import Kind

Graph = Mapping[str, Mapping[str, Any]]
OUTPUTS = ("SaveImage", "PreviewImage", "SaveImageWebsocket")
NODES = (
    *OUTPUTS,
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


def faults(graph: Graph, kind: Kind, uploads: Mapping[str, bytes]) -> dict[str, Any] | None:
    """Return the server's error response to a prompt, None if the prompt is valid."""
    for id, node in graph.items():
        if node["class_type"] not in NODES:
            return {
                "error": {
                    "type": "missing_node_type",
                    "message": f"Node '{node['class_type']}' not found.",
                    "details": f"Node ID '#{id}'",
                    "extra_info": {"node_id": id, "class_type": node["class_type"]},
                },
                "node_errors": {},
            }
    if not any(node["class_type"] in OUTPUTS for node in graph.values()):
        error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}
        return {"error": {**error, "extra_info": {}}, "node_errors": {}}
    found = {
        id: errors for id, node in graph.items() if (errors := _input_errors(node, kind, uploads))
    }
    if not found:
        return None
    message = "Prompt outputs failed validation"
    return {
        "error": {
            "type": "prompt_outputs_failed_validation",
            "message": message,
            "details": "",
            "extra_info": {},
        },
        "node_errors": {
            id: {
                "errors": errors,
                "dependent_outputs": ["7"],
                "class_type": graph[id]["class_type"],
            }
            for id, errors in found.items()
        },
    }


def _input_errors(node: Mapping[str, Any], kind: Kind, uploads: Mapping[str, bytes]) -> list[Any]:
    choices: dict[str, tuple[str, ...]] = {
        "ckpt_name": kind.checkpoints,
        "control_net_name": kind.networks,
        "sampler_name": kind.samplers,
        "scheduler": kind.schedulers,
    }
    if node["class_type"] == "LoadImage":
        choices["image"] = tuple(uploads)
    errors: list[Any] = []
    for name, value in node["inputs"].items():
        if name in choices and value not in choices[name]:
            errors.append(
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": f"{name}: '{value}' not in {list(choices[name])}",
                    "extra_info": {
                        "input_name": name,
                        "input_config": [list(choices[name]), {}],
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


def order(graph: Graph) -> list[str]:
    """Return the nodes that an output needs, each after those that it depends on."""
    done: list[str] = []

    def visit(id: str) -> None:
        for value in graph[id]["inputs"].values():
            if isinstance(value, list) and str(value[0]) in graph:  # pyright: ignore[reportUnknownArgumentType]
                visit(str(value[0]))  # pyright: ignore[reportUnknownArgumentType]
        if id not in done:
            done.append(id)

    for id, node in graph.items():
        if node["class_type"] in OUTPUTS:
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
    """Return the response to `GET /object_info/NODE` for the nodes that choose a file."""
    match node:
        case "CheckpointLoaderSimple":
            required = {"ckpt_name": [list(kind.checkpoints), {"tooltip": "The checkpoint."}]}
        case "ControlNetLoader":
            required = {"control_net_name": ["COMBO", {"options": list(kind.networks)}]}
        case _:
            return {}
    return {node: {"input": {"required": required}, "name": node, "output": []}}
