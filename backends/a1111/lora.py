"""Look up the networks that a prompt's tags name: LoRAs, LyCORIS and hypernetworks.

The server takes tags like `<lora:name:0.8>` out of the prompt, and draws without a network that it
does not have, or whose weight it cannot read: it says so in its console only.

https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/extra_networks.py
(the tags), extensions-builtin/Lora/scripts/lora_script.py (the list), networks.py (the names)
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from backends.a1111.client import Client
from backends.a1111.request import ApiRequest
from backends.base import Applied
from backends.errors import BadInput
from backends.json_values import objects, text
from backends.wording import nearest

_TAG: Final = re.compile(r"<(\w+):([^>]+)>")
_LORAS: Final = ("LoRA", "/sdapi/v1/loras", "/sdapi/v1/refresh-loras")
_KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "lora": _LORAS,
    "lyco": _LORAS,  # Forge and SD.Next know the networks of LyCORIS by the first name only
    "hypernet": ("hypernetwork", "/sdapi/v1/hypernetworks", ""),
}
_EXTENSION: Final = re.compile(r"\.(safetensors|ckpt|pt)$")


async def resolve_tags(client: Client, api_request: ApiRequest) -> None:
    """Write the tags of the prompt with the server's own names, and record them as "loras".

    A list that the server does not give costs a note.

    Raises:
        BadInput: the server lacks a network, and the sentence lists the nearest; or a weight is not
            a number.
    """
    prompt = str(api_request.body["prompt"])
    found = list(_TAG.finditer(prompt))
    notes: list[str] = []
    used: list[str] = []
    for tag in reversed(found):  # from behind, so that the places of the others stay
        kind, (name, *parameters) = tag[1].lower(), tag[2].split(":")
        if kind not in _KINDS:
            notes.append(f"{tag[0]} left to the server: not a tag that Lineup knows")
            continue
        noun = _KINDS[kind][0]
        _check_weights(noun, name, parameters)
        own = name if name.startswith("/") else await _find(client, kind, name)
        if own is None:
            notes.append(f"{noun} {name} not checked: the server does not list what it has")
        own = own or name
        written = ":".join(("lora" if kind == "lyco" else kind, own, *parameters))
        used.append(written.partition(":")[2])
        prompt = f"{prompt[: tag.start()]}<{written}>{prompt[tag.end() :]}"
    api_request.body["prompt"] = prompt
    if _TAG.search(str(api_request.body.get("negative_prompt", ""))):
        notes.append("tags in the negative prompt are mere words to the server")
    if found or notes:
        requested = ", ".join(tag[2] for tag in found)
        note = "; ".join(reversed(notes))
        api_request.honoured["loras"] = Applied(requested, ", ".join(reversed(used)), note)


def _check_weights(noun: str, name: str, parameters: list[str]) -> None:
    """Accept numbers, named ones ("te=0.5"), and SD.Next's weights by step ("1@0,0.5@0.5")."""
    for parameter in parameters:
        value = parameter.rpartition("=")[2].strip()
        try:
            if "@" not in value:
                float(value)
        except ValueError as error:
            raise BadInput(
                f"The weight {value or '(empty)'} of the {noun} {name} is no number. "
                f"Write it like <lora:{name}:0.8>."
            ) from error


async def _find(client: Client, kind: str, name: str) -> str | None:
    """Return the server's name of a network, None if the server does not list what it has."""
    noun, path, refresh = _KINDS[kind]
    listed = await client.courtesy(path)
    own = _match(objects(listed), name)
    if own is None and isinstance(listed, list) and refresh:
        # The list is as old as the server's start, where a file may be newer.
        await client.post_courtesy(refresh)
        listed = await client.courtesy(path)
        own = _match(objects(listed), name)
    if own is None and isinstance(listed, list):
        known = [text(row.get("name")) or "" for row in objects(listed)]
        raise BadInput(f"{client.server.name} has no {noun} {name}. {nearest(name, known)}")
    return own


def _match(rows: list[Mapping[str, Any]], name: str) -> str | None:
    """Return the name of the row that `name` means: exactly, in another case, or with its folder.

    The servers themselves compare exactly. SD.Next writes "_" for each full stop.
    """
    names = [(text(row.get("name")) or "", row) for row in rows]
    exact = (own for own, row in names if name in (own, row.get("alias")))
    wanted = _bare(name)
    close = (
        own
        for own, row in names
        if wanted.rpartition("/")[2].replace(".", "_") == _bare(own).replace(".", "_")
        or wanted in (_bare(str(row.get("alias") or "")), _bare(own))
        or f"/{_bare(str(row.get('path') or ''))}".endswith(f"/{wanted}")
    )
    return next(exact, None) or next(close, None)


def _bare(name: str) -> str:
    return _EXTENSION.sub("", name.strip().lower().replace("\\", "/"))
