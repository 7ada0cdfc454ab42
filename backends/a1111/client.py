"""Client for the HTTP API of an AUTOMATIC1111 server, and lookups of what it has.

Checkpoints, samplers and schedule types are looked up before anything is sent: some servers
silently use another one where they do not know a name.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backends.errors import BadInput
from backends.http.self_hosted import SelfHostedClient
from backends.json_values import items, objects
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

_JSON = {"Content-Type": "application/json"}


class Client(SelfHostedClient):
    """Client of one server for one job."""

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON response to a small `body`; raises as `get` does."""
        return await self._json(await self.post(path, body))

    async def post(
        self, path: str, body: Mapping[str, Any], *, has_pictures: bool = False
    ) -> "httpx2.Response":
        """Return the complete response to `body`, whatever its status.

        Raises:
            httpx2.RequestError: there is no response.
        """
        # Pictures make the body large: encode it in a thread.
        content = await asyncio.to_thread(lambda: json.dumps(body).encode())
        return await self._send("POST", path, _JSON, has_pictures=has_pictures, content=content)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: `title` is what a request names, `names` all its names in lower case."""

    title: str
    names: frozenset[str]

    def matches(self, name: str) -> bool:
        """Return True if `name` is one of the checkpoint's names, in any case."""
        return name.strip().lower() in self.names


async def list_checkpoints(client: Client) -> list[Checkpoint]:
    """Return the server's checkpoints; raises as `Client.get` does."""
    return [_parse_checkpoint(row) for row in objects(await client.get("/sdapi/v1/sd-models"))]


async def find_checkpoint(client: Client, name: str) -> Checkpoint:
    """Return the checkpoint that the user calls `name`.

    Raises:
        BadInput: the server has no checkpoint of that name; the sentence lists the nearest.
    """
    entries = await list_checkpoints(client)
    exact = (entry for entry in entries if entry.title == name)
    close = (entry for entry in entries if entry.matches(name))
    match = next(exact, None) or next(close, None)
    if match is None:
        titles = [entry.title for entry in entries]
        raise BadInput(f"{client.server.name} has no checkpoint {name}. {nearest(name, titles)}")
    return match


async def find_sampler(client: Client, name: str) -> str:
    """Return the sampler `name` as the server writes it.

    Raises:
        BadInput: the server has no such sampler.
    """
    entries = objects(await client.get("/sdapi/v1/samplers"))
    return _find_name(entries, name, "name", f"{client.server.name} has no sampler {name}.")


async def find_schedule(client: Client, name: str) -> str | None:
    """Return the schedule type `name` as the server writes it, None if it has no schedule types.

    Raises:
        BadInput: the server has schedule types, but not this one.
    """
    listed = await client.optional("/sdapi/v1/schedulers")
    if listed is None:
        return None
    return _find_name(
        objects(listed), name, "label", f"{client.server.name} has no schedule type {name}."
    )


def _parse_checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    title = str(row.get("title") or row.get("model_name") or "")
    file = re.sub(r"\s*\[\w+\]$", "", title)  # a title ends with the file's hash once that is known
    names = {title, file, *(str(row.get(key) or "") for key in ("model_name", "hash", "sha256"))}
    names |= {re.split(r"[/\\]", entry)[-1] for entry in (file, str(row.get("filename") or ""))}
    names |= {re.sub(r"\.(safetensors|ckpt|gguf|sft)$", "", entry) for entry in names}
    return Checkpoint(title, frozenset(entry.lower() for entry in names if entry))


def _find_name(entries: Iterable[Mapping[str, Any]], name: str, key: str, otherwise: str) -> str:
    """Return the `key` of the row that has `name` among its names and aliases."""
    known: list[str] = []
    for row in entries:
        own = str(row.get(key) or row.get("name") or "")
        names = (own, row.get("name"), *items(row.get("aliases")))
        if name.lower() in {str(each).lower() for each in names}:
            return own
        known.append(own)
    raise BadInput(f"{otherwise} {nearest(name, known)}")
