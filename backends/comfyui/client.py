"""Client for the HTTP API of a ComfyUI server, and lookups of its models.

All names are looked up before anything is sent, so that a wrong name costs no wait.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from backends.errors import BadInput, ServiceFault
from backends.http.client import Timeouts
from backends.http.self_hosted import MISSING_ROUTE, SelfHostedClient, SelfHostedServer
from backends.images.inputs import of_size
from backends.images.validation import MAX_BYTES
from backends.json_values import mapping
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

MAX_DOWNLOAD_ATTEMPTS = 2
"""Attempts at downloading a finished picture whose transfer breaks off, which is free."""
RECONNECT_PAUSE = 0.5
"""Seconds between two attempts to reach a server whose connection is lost."""
COURTESY_SECONDS = 20.0
"""Limit for an answer that a job can do without."""
_GATEWAY: Final = frozenset({502, 503, 504, 521, 522, 523, 524, 530})
"""Statuses by which a proxy or a tunnel says that it cannot reach the server behind it."""


def is_connection_lost(error: Exception) -> bool:
    """Return whether an exception says that the server was not reached.

    It is reached, and busy, where it takes a request and does not answer it in time.
    """
    import httpx2

    from backends.http.limits import AnswerRefused

    match error:
        case httpx2.HTTPStatusError(response=response):
            return response.status_code in _GATEWAY
        case AnswerRefused() | httpx2.ReadTimeout() | httpx2.PoolTimeout():
            return False
        case _:
            return isinstance(error, httpx2.RequestError)


def _is_not_sent(error: Exception) -> bool:
    """Return whether a request did not leave this machine."""
    import httpx2

    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


class Client(SelfHostedClient):
    """Client of one server for one job."""

    def __init__(
        self, client: "httpx2.AsyncClient", server: SelfHostedServer, timeouts: Timeouts
    ) -> None:
        super().__init__(client, server)
        self.timeouts = timeouts

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON response to `body`, None for an empty one; raises as `get` does."""
        return await self._json(await self._send("POST", path, json=body))

    async def post_once_reached(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the response as `post_json` does, waiting for a connection that is lost.

        A request that may have reached the server is not repeated.
        """
        return await self._once_connected(lambda: self.post_json(path, body), _is_not_sent)

    async def _once_connected(
        self, send: Callable[[], Awaitable[Any]], may_repeat: Callable[[Exception], bool]
    ) -> Any:
        """Return what `send` returns; repeat it for a time after an error that allows it."""
        deadline = time.monotonic() + self.timeouts.reconnect
        while True:
            try:
                return await send()
            except Exception as error:
                if not may_repeat(error) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(RECONNECT_PAUSE)

    async def courtesy(self, path: str) -> Any | None:
        """Return the JSON response of `path`, None where the server has no usable one.

        For what a job can do without: no status, no HTML and no silence is an error.

        Raises:
            httpx2.RequestError: the server cannot be reached.
        """
        import httpx2

        try:
            async with asyncio.timeout(COURTESY_SECONDS):
                return await self.get(path)
        except httpx2.RequestError as error:
            if is_connection_lost(error):
                raise
            return None
        except (httpx2.HTTPStatusError, ValueError, TimeoutError):
            return None

    async def upload(self, name: str, data: bytes) -> str:
        """Upload a picture to the server's input folder; return its name for a LoadImage node.

        It replaces a file of that name, so it is repeated where the connection is lost.
        """

        async def send() -> Any:
            picture, fields = {"image": (name, data, "image/png")}, {"overwrite": "true"}
            response = await self._send("POST", "/upload/image", files=picture, data=fields)
            return await self._json(response)

        answer = await self._once_connected(send, is_connection_lost)
        folder, stored_name = str(answer.get("subfolder") or ""), str(answer["name"])
        return f"{folder}/{stored_name}" if folder else stored_name

    async def download_picture(self, image: Mapping[str, str]) -> bytes:
        """Download a picture that a node has saved; a lost connection is waited for.

        Raises:
            ServiceFault: the picture was made but could not be fetched.
        """
        import httpx2

        from backends.http.limits import AnswerRefused

        failure = f"The picture was made, but could not be fetched from {self._host}"
        deadline, transfers = time.monotonic() + self.timeouts.reconnect, 0
        while True:
            began = False
            try:
                async with self._client.stream(
                    "GET",
                    f"{self.server.url}/view",
                    params={key: image.get(key, "") for key in ("filename", "subfolder", "type")},
                    headers=self.server.headers,
                    extensions={"max_bytes": MAX_BYTES},
                ) as response:
                    began, status = response.status_code not in _GATEWAY, response.status_code
                    if status == 200:
                        return await response.aread()
                    if began or time.monotonic() > deadline:
                        raise ServiceFault(f"{failure}: it answers {status}.")
            except AnswerRefused as error:
                raise ServiceFault(f"{failure}: it sent {error}.") from error
            except httpx2.RequestError as error:
                transfers += began
                if (
                    transfers == MAX_DOWNLOAD_ATTEMPTS
                    or time.monotonic() > deadline
                    or isinstance(error, httpx2.ReadTimeout)
                ):
                    raise ServiceFault(
                        f"{failure}: the connection failed. It lies in the server's output folder."
                    ) from error
            if not began:
                await asyncio.sleep(RECONNECT_PAUSE)

    @property
    def _host(self) -> str:
        return self.server.name.removeprefix("The server at ")

    async def _json(self, response: "httpx2.Response") -> Any:
        """Parse a response, None for an empty one: some routes answer without a body."""
        response.raise_for_status()
        return await super()._json(response) if response.content else None


_FILE_EXTENSION = re.compile(r"\.(safetensors|ckpt|pth|pt|bin|gguf|sft)$", re.IGNORECASE)


async def require_comfyui(client: Client) -> None:
    """Check that a ComfyUI server answers and lets this machine in.

    One usable answer will do: a proxy may hide some of its routes, or a route may be broken.

    Raises:
        httpx2.HTTPError, ValueError: there is none, or the server redirects or refuses.
    """
    import httpx2

    first: Exception | None = None
    for path in ("/queue", "/system_stats", "/object_info/KSampler"):
        try:
            if isinstance(await client.get(path), dict):
                return
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            if status not in MISSING_ROUTE and status < 500:
                raise
            first = first or error
        except ValueError as error:
            first = first or error
    raise first or ValueError("no JSON object")


async def list_checkpoints(client: Client) -> list[str] | None:
    """Return the server's checkpoints, None if it does not tell; raises as `courtesy` does."""
    return await _list_models(client, "checkpoints", "CheckpointLoaderSimple", "ckpt_name")


async def list_controlnets(client: Client) -> list[str] | None:
    """Return the server's ControlNet models as `list_checkpoints` does the checkpoints."""
    return await _list_models(client, "controlnet", "ControlNetLoader", "control_net_name")


async def list_loras(client: Client) -> list[str] | None:
    """Return the server's LoRAs as `list_checkpoints` does the checkpoints."""
    return await _list_models(client, "loras", "LoraLoader", "lora_name")


async def list_options(client: Client) -> dict[str, list[str]]:
    """Return the names of what the server has, by the option that takes them."""
    described = mapping(await client.courtesy("/object_info/KSampler")).get("KSampler")
    names = {"sampler": "sampler_name", "scheduler": "scheduler"}
    found = {name: [str(each) for each in _choices(described, key)] for name, key in names.items()}
    return {**found, "control_model": await list_controlnets(client) or []}


NOT_LISTED: Final = "not looked up: the server does not tell what it has"


def as_file(name: str) -> str:
    """Return the most likely file name for a model that cannot be looked up."""
    return name if _FILE_EXTENSION.search(name) else f"{name}.safetensors"


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


async def _list_models(client: Client, folder: str, node: str, name: str) -> list[str] | None:
    listed = await client.courtesy(f"/models/{folder}")
    if not isinstance(listed, list):  # an older server: ask the node that loads them
        match await client.courtesy(f"/object_info/{node}"):
            case {**description} if node in description:
                listed = _choices(description[node], name)
            case _:
                return None
    return [str(each) for each in cast(list[object], listed)]


def _choices(description: object, name: str) -> list[object]:
    """Return the choices of a node's input, in either form that `/object_info` uses."""
    required = mapping(mapping(mapping(description).get("input")).get("required"))
    match required.get(name):
        case [list() as choices, *_]:
            return cast(list[object], choices)
        case [str(), {"options": list() as choices}, *_]:
            return cast(list[object], choices)
        case _:
            return []


def _normalize(name: str) -> str:
    return _FILE_EXTENSION.sub("", name.strip().lower().replace("\\", "/"))
