"""Client for the HTTP API of a ComfyUI server, and lookups of its models.

All names are looked up before anything is sent, so that a wrong name costs no wait.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from backends.errors import BadInput, ServiceFault
from backends.http.self_hosted import SelfHostedClient
from backends.images.inputs import of_size
from backends.images.validation import MAX_BYTES
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

MAX_DOWNLOAD_ATTEMPTS = 2
"""Attempts at downloading a finished picture, which is free."""


class Client(SelfHostedClient):
    """Client of one server for one job."""

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON response to `body`, None for an empty one; raises as `get` does."""
        return await self._json(await self._send("POST", path, json=body))

    async def upload(self, name: str, data: bytes) -> str:
        """Upload a picture to the server's input folder; return its name for a LoadImage node."""
        answer = await self._json(
            await self._send(
                "POST",
                "/upload/image",
                files={"image": (name, data, "image/png")},
                data={"overwrite": "true"},
            )
        )
        folder, stored_name = str(answer.get("subfolder") or ""), str(answer["name"])
        return f"{folder}/{stored_name}" if folder else stored_name

    async def download_picture(self, image: Mapping[str, str]) -> bytes:
        """Download a picture that a node has saved.

        Raises:
            ServiceFault: the picture was made but could not be fetched.
        """
        import httpx2

        from backends.http.limits import AnswerRefused

        failure = f"The picture was made, but could not be fetched from {self._host}"
        for attempt in range(1, MAX_DOWNLOAD_ATTEMPTS + 1):
            try:
                async with self._client.stream(
                    "GET",
                    f"{self.server.url}/view",
                    params={key: image.get(key, "") for key in ("filename", "subfolder", "type")},
                    headers=self.server.headers,
                    extensions={"max_bytes": MAX_BYTES},
                ) as response:
                    if response.status_code != 200:
                        raise ServiceFault(f"{failure}: it answers {response.status_code}.")
                    return await response.aread()
            except AnswerRefused as error:
                raise ServiceFault(f"{failure}: it sent {error}.") from error
            except httpx2.RequestError as error:
                if attempt == MAX_DOWNLOAD_ATTEMPTS or isinstance(error, httpx2.TimeoutException):
                    raise ServiceFault(
                        f"{failure}: the connection failed. It lies in the server's output folder."
                    ) from error
        raise AssertionError  # the last attempt returns or raises

    @property
    def _host(self) -> str:
        return self.server.name.removeprefix("The server at ")

    async def _json(self, response: "httpx2.Response") -> Any:
        """Parse a response, None for an empty one: some routes answer without a body."""
        response.raise_for_status()
        return await super()._json(response) if response.content else None


_FILE_EXTENSION = re.compile(r"\.(safetensors|ckpt|pth|pt|bin|gguf|sft)$", re.IGNORECASE)


async def list_checkpoints(client: Client) -> list[str]:
    """Return the server's checkpoints; raises as `Client.get` does."""
    return await _list_models(client, "checkpoints", "CheckpointLoaderSimple", "ckpt_name")


async def list_controlnets(client: Client) -> list[str]:
    """Return the server's ControlNet models; raises as `Client.get` does."""
    return await _list_models(client, "controlnet", "ControlNetLoader", "control_net_name")


def find_name(name: str, known: list[str], what: str, server: str) -> str:
    """Return the name in `known` that matches the user's `name`, up to case, folder and extension.

    `what` says what is looked for, in the sentence of the error.

    Raises:
        BadInput: there is no such name; the sentence lists the nearest.
    """
    normalized = _normalize(name)
    matches = [
        each
        for each in known
        if normalized in (_normalize(each), _normalize(each).rpartition("/")[2])
    ]
    if name in known or matches:
        return name if name in known else matches[0]
    raise BadInput(f"{server} has no {what} {name}. {nearest(name, known)}")


def matching_controlnet(preprocessor: str, checkpoint: str, known: list[str], server: str) -> str:
    """Return the ControlNet model whose name contains the kind of the preprocessor's map.

    A model of the checkpoint's size is preferred. A ready map ("none") is taken for one of edges,
    as in every other backend, unless the server has only one model.

    Raises:
        BadInput: no model matches; the sentence lists the known ones.
    """
    kind = "canny" if preprocessor == "none" else preprocessor
    fit = [each for each in known if kind in each.lower()]
    if not fit and preprocessor == "none" and len(known) == 1:
        fit = known
    if not fit:
        raise BadInput(
            f"{server} has no ControlNet model for {kind}. Name one of its own in the options. "
            f"{nearest(kind, known)}"
        )
    return of_size(fit, checkpoint)


async def _list_models(client: Client, folder: str, node: str, name: str) -> list[str]:
    listed = await client.optional(f"/models/{folder}")
    if not isinstance(listed, list):  # an older server: ask the node that loads them
        match await client.optional(f"/object_info/{node}"):
            case {**description} if node in description:
                listed = _choices(description[node], name)
            case _:
                listed = []
    return [str(each) for each in cast(list[object], listed)]


def _choices(description: Any, name: str) -> list[object]:
    """Return the choices of a node's input, in either form that `/object_info` uses."""
    required = description.get("input", {}).get("required", {})
    match required.get(name):
        case [list() as choices, *_]:
            return cast(list[object], choices)
        case [str(), {"options": list() as choices}, *_]:
            return cast(list[object], choices)
        case _:
            return []


def _normalize(name: str) -> str:
    return _FILE_EXTENSION.sub("", name.strip().lower().replace("\\", "/"))
