"""Requests to an AUTOMATIC1111 server."""

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.own_server_wire import OwnWire

if TYPE_CHECKING:
    import httpx2

_JSON = {"Content-Type": "application/json"}


class Wire(OwnWire):
    """The way to one server, for one job."""

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that `path` answers to a small `body`; raises as `get` does."""
        return await self._json(await self.post(path, body))

    async def post(self, path: str, body: Mapping[str, Any]) -> "httpx2.Response":
        """Return the whole answer to `body`, whatever its status.

        Raises:
            httpx2.RequestError: there is none.
        """
        # A control picture makes the body large.
        content = await asyncio.to_thread(lambda: json.dumps(body).encode())
        return await self._send("POST", path, _JSON, content=content)
