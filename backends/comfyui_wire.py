"""Requests to a ComfyUI server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.errors import ServiceFault
from backends.images.validation import MOST_BYTES
from backends.own_server_wire import OwnWire

if TYPE_CHECKING:
    import httpx2

TRIES = 2
"""How often a finished picture is asked for, which is free."""


class Wire(OwnWire):
    """The way to one server, for one job."""

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
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

    async def picture(self, image: Mapping[str, str]) -> bytes:
        """Fetch a picture that a node has saved.

        Raises:
            ServiceFault: it was made but could not be fetched.
        """
        import httpx2

        lost = f"The picture was made, but could not be fetched from {self._place}"
        for attempt in range(1, TRIES + 1):
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
                if attempt == TRIES or isinstance(error, httpx2.TimeoutException):
                    raise ServiceFault(
                        f"{lost}: the connection failed. It lies in the server's output folder."
                    ) from error
        raise AssertionError  # the last attempt returns or raises

    @property
    def _place(self) -> str:
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
