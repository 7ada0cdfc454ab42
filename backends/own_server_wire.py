"""Requests to a server that Lineup's owner runs, each with what lets one in."""

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.http.self_hosted import OwnServer

if TYPE_CHECKING:
    import httpx2

MISSING_ROUTE = frozenset({404, 405, 501})
LARGE = 65_536
"""Bytes of JSON whose reading would hold up the event loop."""


class OwnWire:
    """The way to one server, for one job; what one kind of server takes is added by its own."""

    def __init__(self, client: "httpx2.AsyncClient", server: OwnServer) -> None:
        self._client = client
        self.server = server

    async def get(self, path: str) -> Any:
        """Return the JSON that `path` answers.

        Raises:
            httpx2.HTTPError: there is no answer, or its status says that something is wrong.
            ValueError: the answer is not JSON.
        """
        return await self._json(await self._send("GET", path))

    async def optional(self, path: str) -> Any | None:
        """Return what `path` answers, None where the server has no such route; raises as `get`."""
        response = await self._send("GET", path)
        return None if response.status_code in MISSING_ROUTE else await self._json(response)

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> "httpx2.Response":
        return await self._client.request(
            method,
            f"{self.server.url}{path}",
            headers={**self.server.headers, **(headers or {})},
            **more,
        )

    async def _json(self, response: "httpx2.Response") -> Any:
        response.raise_for_status()
        if len(response.content) < LARGE:
            return json.loads(response.content)
        return await asyncio.to_thread(json.loads, response.content)
