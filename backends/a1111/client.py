"""What an AUTOMATIC1111 server has: checkpoints, samplers, schedules.

All of it is looked up before anything is sent. Some servers draw with something else, and say
nothing, where they do not know what was asked for.

Requests to an AUTOMATIC1111 server.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from backends.errors import BadInput
from backends.http.self_hosted import SelfHostedClient
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

_JSON = {"Content-Type": "application/json"}


class Client(SelfHostedClient):
    """The way to one server, for one job."""

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint: `title` is what the server is told, `names` all that it is known by."""

    title: str
    names: frozenset[str]

    def matches(self, name: str) -> bool:
        """Say whether `name` means this checkpoint, however it is written."""
        return name.strip().lower() in self.names


async def list_checkpoints(wire: Client) -> list[Checkpoint]:
    """Return all that the server has; raises as `Wire.get` does."""
    return [_parse_checkpoint(row) for row in rows(await wire.get("/sdapi/v1/sd-models"))]


async def find_checkpoint(wire: Client, name: str) -> Checkpoint:
    """Return the checkpoint that the user calls `name`.

    Raises:
        BadInput: the server has none of that name; the sentence names the nearest.
    """
    found = await list_checkpoints(wire)
    exact = (each for each in found if each.title == name)
    close = (each for each in found if each.matches(name))
    chosen = next(exact, None) or next(close, None)
    if chosen is None:
        titles = [each.title for each in found]
        raise BadInput(f"{wire.server.name} has no checkpoint {name}. {nearest(name, titles)}")
    return chosen


async def find_sampler(wire: Client, name: str) -> str:
    """Return `name` as the server writes it.

    Raises:
        BadInput: it has no such sampler.
    """
    found = rows(await wire.get("/sdapi/v1/samplers"))
    return _find_name(found, name, "name", f"{wire.server.name} has no sampler {name}.")


async def find_schedule(wire: Client, name: str) -> str | None:
    """Return the schedule type `name` as the server writes it, None where it knows of none.

    Raises:
        BadInput: it has others, but not this one.
    """
    listed = await wire.optional("/sdapi/v1/schedulers")
    if listed is None:
        return None
    return _find_name(
        rows(listed), name, "label", f"{wire.server.name} has no schedule type {name}."
    )


def rows(answer: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects of a list, none where it is something else."""
    if not isinstance(answer, list):
        return []
    return [each for each in cast(list[Any], answer) if isinstance(each, dict)]


def _parse_checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    title = str(row.get("title") or row.get("model_name") or "")
    file = re.sub(r"\s*\[\w+\]$", "", title)  # the title ends with a hash once that is known
    names = {title, file, *(str(row.get(key) or "") for key in ("model_name", "hash", "sha256"))}
    names |= {re.split(r"[/\\]", each)[-1] for each in (file, str(row.get("filename") or ""))}
    names |= {re.sub(r"\.(safetensors|ckpt|gguf|sft)$", "", each) for each in names}
    return Checkpoint(title, frozenset(each.lower() for each in names if each))


def _find_name(found: Iterable[Mapping[str, Any]], name: str, key: str, otherwise: str) -> str:
    """The `key` of the row that has `name` for any of its names."""
    known: list[str] = []
    for row in found:
        own = str(row.get(key) or row.get("name") or "")
        aliases = cast(object, row.get("aliases"))
        others = cast(list[object], aliases) if isinstance(aliases, list) else []
        if name.lower() in {str(each).lower() for each in (own, row.get("name"), *others)}:
            return own
        known.append(own)
    raise BadInput(f"{otherwise} {nearest(name, known)}")
