"""What a ComfyUI server has: checkpoints, ControlNet models.

All of it is looked up before anything is sent, so that a wrong name costs no wait.

Requests to a ComfyUI server.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from backends.errors import BadInput, ServiceFault
from backends.http.self_hosted import SelfHostedClient
from backends.images.inputs import of_size
from backends.images.validation import MOST_BYTES
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

MAX_DOWNLOAD_ATTEMPTS = 2
"""How often a finished picture is asked for, which is free."""


class Client(SelfHostedClient):
    """The way to one server, for one job."""

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that `path` answers to `body`, None for an empty answer.

        Raises as `get` does.
        """
        return await self._json(await self._send("POST", path, json=body))

    async def upload(self, name: str, data: bytes) -> str:
        """Put a picture into the server's input folder; return what a LoadImage node calls it."""
        answer = await self._json(
            await self._send(
                "POST",
                "/upload/image",
                files={"image": (name, data, "image/png")},
                data={"overwrite": "true"},
            )
        )
        folder, kept = str(answer.get("subfolder") or ""), str(answer["name"])
        return f"{folder}/{kept}" if folder else kept

    async def download_picture(self, image: Mapping[str, str]) -> bytes:
        """Fetch a picture that a node has saved.

        Raises:
            ServiceFault: it was made but could not be fetched.
        """
        import httpx2

        lost = f"The picture was made, but could not be fetched from {self._host}"
        for attempt in range(1, MAX_DOWNLOAD_ATTEMPTS + 1):
            try:
                async with self._client.stream(
                    "GET",
                    f"{self.server.url}/view",
                    params={key: image.get(key, "") for key in ("filename", "subfolder", "type")},
                    headers=self.server.headers,
                ) as response:
                    if response.status_code != 200:
                        raise ServiceFault(f"{lost}: it answers {response.status_code}.")
                    return await _limited(response, lost)
            except httpx2.RequestError as error:
                if attempt == MAX_DOWNLOAD_ATTEMPTS or isinstance(error, httpx2.TimeoutException):
                    raise ServiceFault(
                        f"{lost}: the connection failed. It lies in the server's output folder."
                    ) from error
        raise AssertionError  # the last attempt returns or raises

    @property
    def _host(self) -> str:
        return self.server.name.removeprefix("The server at ")

    async def _json(self, response: "httpx2.Response") -> Any:
        """None for an empty answer, as it gives where it has nothing to say."""
        response.raise_for_status()
        return await super()._json(response) if response.content else None


async def _limited(response: "httpx2.Response", lost: str) -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            raise ServiceFault(f"{lost}: it has more than {MOST_BYTES / 1e6:.0f} MB.")
    return bytes(data)


_FILE_EXTENSION = re.compile(r"\.(safetensors|ckpt|pth|pt|bin|gguf|sft)$", re.IGNORECASE)


async def list_checkpoints(wire: Client) -> list[str]:
    """Return the server's checkpoints; raises as `Wire.get` does."""
    return await _list_models(wire, "checkpoints", "CheckpointLoaderSimple", "ckpt_name")


async def list_controlnets(wire: Client) -> list[str]:
    """Return the server's ControlNet models; raises as `Wire.get` does."""
    return await _list_models(wire, "controlnet", "ControlNetLoader", "control_net_name")


def find_name(name: str, known: list[str], what: str, server: str) -> str:
    """Return what the server calls the thing that the user calls `name`.

    Raises:
        BadInput: it has none of that name; the sentence names the nearest.
    """
    wanted = _normalize(name)
    alike = [
        each for each in known if wanted in (_normalize(each), _normalize(each).rpartition("/")[2])
    ]
    if name in known or alike:
        return name if name in known else alike[0]
    raise BadInput(f"{server} has no {what} {name}. {nearest(name, known)}")


def matching_controlnet(preprocessor: str, checkpoint: str, known: list[str], server: str) -> str:
    """Return the ControlNet model whose name says that it wants such maps.

    One of the checkpoint's size is preferred. A ready map is taken for one of edges, as every
    other backend here does, unless there is only one model at all.

    Raises:
        BadInput: none does; the sentence names those that there are.
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


async def _list_models(wire: Client, folder: str, node: str, name: str) -> list[str]:
    found = await wire.optional(f"/models/{folder}")
    if not isinstance(found, list):  # an older server: the node that loads them knows as well
        match await wire.optional(f"/object_info/{node}"):
            case {**about} if node in about:
                found = _choices(about[node], name)
            case _:
                found = []
    return [str(each) for each in cast(list[object], found)]


def _choices(about: Any, name: str) -> list[object]:
    """The choices that an input of a node has, in either form."""
    required = about.get("input", {}).get("required", {})
    match required.get(name):
        case [list() as choices, *_]:
            return cast(list[object], choices)
        case [str(), {"options": list() as choices}, *_]:
            return cast(list[object], choices)
        case _:
            return []


def _normalize(name: str) -> str:
    return _FILE_EXTENSION.sub("", name.strip().lower().replace("\\", "/"))
