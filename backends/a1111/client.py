"""Client for the HTTP API of an AUTOMATIC1111 server, and lookups of what it has.

Checkpoints, samplers and schedule types are looked up before anything is sent: some servers
silently use another one where they do not know a name. A list is a courtesy: where a server does
not answer one properly, the name is sent as the user wrote it, and the answer says what was used.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backends.errors import BadInput
from backends.http.self_hosted import SelfHostedClient
from backends.json_values import items, mapping, objects, text
from backends.wording import nearest

if TYPE_CHECKING:
    import httpx2

_JSON = {"Content-Type": "application/json"}
COURTESY_SECONDS: Final = 10.0
"""Limit for an answer without which a job can be drawn, in seconds."""
_LISTS: Final = ("/sdapi/v1/sd-models", "/sdapi/v1/samplers", "/sdapi/v1/options")
_POST_ONLY: Final = "/sdapi/v1/png-info"
_HASH: Final = re.compile(r"\s*\[\w+\]$")
_EXTENSION: Final = re.compile(r"\.(safetensors|ckpt|gguf|sft|pt|bin)$")


class Client(SelfHostedClient):
    """Client of one server for one job."""

    async def parse(self, response: "httpx2.Response") -> Any:
        """Return the JSON of a response; raises as `get` does."""
        return await self._json(response)

    async def post(self, path: str, body: Mapping[str, Any]) -> "httpx2.Response":
        """Return the complete response to a small `body`, whatever its status.

        Raises:
            httpx2.RequestError: there is no response.
        """
        return await self._send("POST", path, _JSON, content=json.dumps(body).encode())

    async def generate(
        self, path: str, body: Mapping[str, Any], begun: Callable[[], None]
    ) -> "httpx2.Response":
        """Return the complete response to a job, whatever its status.

        `begun` is called once its head has arrived: the server has ended the job by then.

        Raises:
            httpx2.RequestError: there is no response.
        """
        # Pictures make the body large: encode it in a thread.
        content = await asyncio.to_thread(lambda: json.dumps(body).encode())
        async with self._client.stream(
            "POST",
            f"{self.server.url}{path}",
            headers={**self.server.headers, **_JSON},
            content=content,
        ) as response:
            begun()
            await response.aread()
        return response

    async def courtesy(self, path: str) -> Any | None:
        """Return the JSON response of a GET request, None where there is no such answer."""
        try:
            async with asyncio.timeout(COURTESY_SECONDS):
                return await self.get(path)
        except Exception:  # whatever it is, it must not cost the user the picture
            return None

    async def post_courtesy(self, path: str) -> None:
        """Post nothing to a route; it does not matter whether there is one."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(COURTESY_SECONDS):
                await self.post(path, {})

    async def has_api(self) -> bool:
        """Return whether any answer shows that this is a server of this kind."""
        lists = await asyncio.gather(*map(self.courtesy, _LISTS), self._has_post_route())
        return any(isinstance(each, dict | list) or each is True for each in lists)

    async def _has_post_route(self) -> bool:
        """Return whether a route of all servers of this kind, which takes a POST, is there.

        https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/api/api.py
        """
        try:
            async with asyncio.timeout(COURTESY_SECONDS):
                return (await self._send("GET", _POST_ONLY)).status_code == 405
        except Exception:
            return False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: `title` is what a request names.

    `paths` are its names and its file, `hashes` the SHA-256 of its weights and the first digits of
    that, all in the form that `_canonical` returns. Without any of them nothing is known of it.
    """

    title: str
    paths: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()

    def matches(self, name: str) -> bool:
        """Return True if `name` is one of the checkpoint's names, in any case.

        Folders may be left out from the left, and so may the extension.
        """
        wanted = _canonical(name)
        inside = any(path == wanted or path.endswith(f"/{wanted}") for path in self.paths)
        return bool(wanted) and (inside or self.has_hash(name))

    def has_hash(self, digits: str) -> bool:
        """Return True if `digits` are the hash of its weights, or the first of it."""
        wanted = digits.strip().lower()
        return len(wanted) >= 8 and any(
            known.startswith(wanted) or wanted.startswith(known) for known in self.hashes
        )


async def list_checkpoints(client: Client) -> list[Checkpoint]:
    """Return the server's checkpoints; raises as `Client.get` does."""
    return [_parse_checkpoint(row) for row in objects(await client.get(_LISTS[0]))]


async def find_checkpoint(client: Client, name: str) -> Checkpoint:
    """Return the checkpoint that the user calls `name`, unchecked if the server lists none.

    Raises:
        BadInput: the server has no checkpoint of that name, and the sentence lists the nearest; or
            it has several in different folders.
    """
    listed = await client.courtesy(_LISTS[0])
    if not isinstance(listed, list):
        return Checkpoint(name, frozenset({_canonical(name)}))
    entries = [_parse_checkpoint(row) for row in objects(listed)]
    exact = [entry for entry in entries if entry.title == name]
    found = exact or [entry for entry in entries if entry.matches(name)]
    if len(found) > 1:  # a whole name goes before one without its folders
        whole = _canonical(name)
        found = [entry for entry in found if _canonical(entry.title) == whole] or found
    titles = [entry.title for entry in found or entries]
    if not found:
        raise BadInput(f"{client.server.name} has no checkpoint {name}. {nearest(name, titles)}")
    if len(found) > 1:
        raise BadInput(
            f"{client.server.name} has several checkpoints {name}: {', '.join(titles[:3])}. "
            "Name one with its folder."
        )
    return found[0]


async def list_options(client: Client) -> dict[str, list[str]]:
    """Return the names of what the server has, by the option that takes them."""
    samplers = objects(await client.courtesy(_LISTS[1]))
    schedules = objects(await client.courtesy("/sdapi/v1/schedulers"))
    controls = mapping(await client.courtesy("/controlnet/model_list"))
    return {
        "sampler_name": [str(row["name"]) for row in samplers if row.get("name")],
        "scheduler": [str(row["label"]) for row in schedules if row.get("label")],
        "control_model": [str(name) for name in items(controls.get("model_list"))],
    }


async def find_sampler(client: Client, name: str) -> str:
    """Return the sampler `name` as the server writes it, unchanged if the server lists none.

    Raises:
        BadInput: the server has no such sampler.
    """
    entries = objects(await client.courtesy(_LISTS[1]))
    if not entries:
        return name
    return _find_name(entries, name, "name", f"{client.server.name} has no sampler {name}.")


async def find_schedule(client: Client, name: str) -> str:
    """Return the schedule type `name` as the server writes it.

    It is returned unchanged if the server lists none: SD.Next answers 500, or with samplers, which
    have no label. Only the answer to the job then tells whether it was used.

    Raises:
        BadInput: the server has schedule types, but not this one.
    """
    entries = objects(await client.courtesy("/sdapi/v1/schedulers"))
    labelled = [row for row in entries if text(row.get("label"))]
    samplers = objects(await client.courtesy(_LISTS[1])) if labelled else []
    names = {row.get("name") for row in samplers}
    if not labelled or all(row.get("name") in names for row in labelled):
        return name
    return _find_name(labelled, name, "label", f"{client.server.name} has no schedule type {name}.")


def _parse_checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    title = str(row.get("title") or row.get("model_name") or "")
    paths = {_canonical(str(row.get(key) or "")) for key in ("title", "model_name", "filename")}
    hashes = {str(row.get(key) or "").lower() for key in ("hash", "sha256")}
    bracketed = re.search(r"\[(\w{8,})\]$", title)  # once the hash of the file is known
    hashes |= {bracketed[1].lower()} if bracketed else set()
    return Checkpoint(title, frozenset(paths - {""}), frozenset(hashes - {""}))


def _canonical(name: str) -> str:
    """Return a file's name in lower case, with slashes, without extension and appended hash."""
    bare = _HASH.sub("", name.strip()).lower().replace("\\", "/")
    return _EXTENSION.sub("", bare)


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
