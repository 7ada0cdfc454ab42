"""LoRAs that a prompt names: `<lora:style:0.8>`, the notation of the Stable Diffusion web UI.

ComfyUI does not know it: for its text encoders a tag is words like others. So the tags are taken
out of the prompt, looked up on the server, and put into the workflow as LoraLoader nodes between
the loaders and whatever uses their model and text encoder.

The numbers after the name are, as in the web UI, the weight for the text encoder and the one for
the model, which is the same where only one is given
(https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/extensions-builtin/Lora/extra_networks_lora.py).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from backends.base import Applied
from backends.comfyui.client import NOT_LISTED, Client, as_file, find_name, list_loras
from backends.comfyui.placeholders import PROMPT
from backends.comfyui.workflow import Graph, Workflow, copy_graph, linked_node
from backends.errors import BadInput

Link: TypeAlias = list[str | int]
_TAG: Final = re.compile(r"\s*<(?:lora|lyco):([^:<>]+)((?::[^:<>]*)*)>", re.IGNORECASE)
_PLAIN_TEXT: Final = re.compile(r"(CLIPTextEncode|TextEncode|Primitive|String)\w*")
"""Classes that take a prompt as it is. Others may read tags in it by themselves."""
IN_NEGATIVE: Final = (
    "LoRA tags in the negative prompt ignored: a LoRA acts on the whole picture. Name it in the "
    "prompt, with a weight below 0 to turn away from it"
)
_FIRST_ID: Final = "lineup-lora"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A LoRA of a prompt: its name there, its file on the server, and its weights."""

    name: str
    file: str = ""
    model: float
    text_encoder: float

    def __str__(self) -> str:
        """Return the LoRA as a tag writes it."""
        weights = [self.text_encoder] + [self.model] * (self.model != self.text_encoder)
        return ":".join([self.file or self.name, *(f"{weight:g}" for weight in weights)])


def parse_loras(prompt: str) -> tuple[str, tuple[Lora, ...]]:
    """Return a prompt without its tags, and the LoRAs that they name.

    Raises:
        BadInput: a weight is no number.
    """
    loras = tuple(_parse(name, weights) for name, weights in _TAG.findall(prompt))
    return (_TAG.sub("", prompt).strip(), loras) if loras else (prompt, ())


def reads_tags(workflow: Workflow) -> str | None:
    """Return the class of a node that takes the prompt and may read tags itself, None if none."""
    kinds = (workflow.class_of(target.node) for target in workflow.placeholders[PROMPT])
    return next((kind for kind in kinds if not _PLAIN_TEXT.fullmatch(kind)), None)


async def resolve_loras(
    client: Client, loras: Sequence[Lora], workflow: Workflow
) -> tuple[tuple[Lora, ...], Applied]:
    """Return the LoRAs with their files on the server, none if they cannot be used; and a note.

    Raises:
        BadInput: the server lacks one; the sentence names the nearest.
        httpx2.RequestError: the server cannot be reached.
    """
    requested = ", ".join(map(str, loras))
    known = await list_loras(client)
    found = tuple(
        replace(
            lora,
            file=as_file(lora.name)
            if known is None
            else find_name(lora.name, known, "LoRA", client.server.name),
        )
        for lora in loras
    )
    note = NOT_LISTED if known is None else ""
    if kind := reads_tags(workflow):
        note = f"LoRA tags left in the prompt: it is up to the workflow's {kind} to read them"
        return (), Applied(requested, requested, note)
    if not any(sources := _sources(workflow.graph)):
        note = (
            f"{requested} ignored: the workflow has no single loader of a model that a LoRA could "
            "follow"
        )
        return (), Applied(requested, None, note)
    if sources[1] is None:
        partial = "on the model alone: the workflow loads no text encoder"
        note = "; ".join(filter(None, (note, partial)))
    return found, Applied(requested, ", ".join(map(str, found)), note)


def with_loras(graph: Graph, loras: Sequence[Lora]) -> Graph:
    """Return a copy of `graph` with a chain of LoraLoader nodes behind its loaders."""
    graph = copy_graph(graph)
    model, clip = _sources(graph)
    if model is None or not loras:
        return graph
    last_model, last_clip = model, clip
    added: Graph = {}
    for number, lora in enumerate(loras, start=1):
        id = f"{_FIRST_ID}-{number}"
        inputs = {"lora_name": lora.file, "strength_model": lora.model, "model": last_model}
        kind = "LoraLoaderModelOnly"
        if last_clip is not None:
            kind = "LoraLoader"
            inputs |= {"strength_clip": lora.text_encoder, "clip": last_clip}
            last_clip = [id, 1]
        added[id] = {"class_type": kind, "_meta": {"title": lora.name}, "inputs": inputs}
        last_model = [id, 0]
    for node in graph.values():
        for name, value in node["inputs"].items():
            if value == model:
                node["inputs"][name] = last_model
            elif clip is not None and value == clip:
                node["inputs"][name] = last_clip
    return graph | added


def _parse(name: str, text: str) -> Lora:
    """Parse what follows a name: two weights by their place, or by the names `te` and `unet`."""
    weights: dict[str, str] = {}
    for place, word in enumerate(text.split(":")[1:]):
        key, equals, value = word.partition("=")
        weights[key.strip() if equals else ("te", "unet", "")[min(place, 2)]] = value or key
    encoder = _number(name, weights.get("te", "") or weights.get("unet", "") or "1")
    model = _number(name, weights["unet"]) if weights.get("unet") else encoder
    return Lora(name=name.strip(), model=model, text_encoder=encoder)


def _number(name: str, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not -100 <= number <= 100:  # the limits of the node
        raise BadInput(
            f"The weight of the LoRA “{name}” must be a number such as 0.8, and not “{word}”."
        )
    return number


def _sources(graph: Graph) -> tuple[Link | None, Link | None]:
    """Return the outputs that give the model and the text encoder, None if there is no single one.

    A workflow with several loaders (a base and a refiner) does not tell which the LoRA is for.
    """
    used = {
        (source, value[1])
        for node in graph.values()
        for value in node["inputs"].values()
        if (source := linked_node(value)) is not None
    }
    models: list[Link] = []
    clips: list[Link] = []
    for id, node in graph.items():
        kind = str(node["class_type"]).lower()
        if "checkpointloader" in kind:
            models.append([id, 0])
            clips.append([id, 1])
        elif "unetloader" in kind or "diffusionmodelloader" in kind:
            models.append([id, 0])
        elif "cliploader" in kind:
            clips.append([id, 0])
    models = [link for link in models if tuple(link) in used]
    clips = [link for link in clips if tuple(link) in used]
    return (
        models[0] if len(models) == 1 else None,
        clips[0] if len(models) == 1 and len(clips) == 1 else None,
    )
