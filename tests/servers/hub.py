"""A fake Hugging Face Hub for downloading a model: one folder is one repository.

The API is that of huggingface.co/docs/hub/api: details of a model (`/api/models/ID`), its files
(`/api/models/ID/tree/REVISION`) and each file (`/ID/resolve/REVISION/FILE`), with the headers by
which the client recognises an unchanged file.
"""

import asyncio
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tests.servers.exchange import Received, Reply
from tests.servers.http import Server

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"


class Hub(Server):
    """Serves the files in `folder` as the newest commit of `hub_id`; any other id is unknown."""

    def __init__(self, hub_id: str, folder: Path) -> None:
        super().__init__()
        self._id, self._folder = hub_id, folder

    @property
    def sent(self) -> list[str]:
        """The files that were requested with all their bytes."""
        asked = [request.path for request in self.requests if request.method == "GET"]
        return [path.split("/", 5)[5] for path in asked if path.startswith(f"/{self._id}/resolve/")]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        path = unquote(urlsplit(received.path).path)
        if path.startswith(f"/api/models/{self._id}/tree/"):
            return await reply.send(json.dumps([_row(*each) for each in self._files()]).encode())
        if path in (f"/api/models/{self._id}", f"/api/models/{self._id}/revision/main"):
            return await reply.send(json.dumps(self._details()).encode())
        for revision in ("main", COMMIT):
            name = path.removeprefix(f"/{self._id}/resolve/{revision}/")
            if name != path and (self._folder / name).is_file():
                return await _send(self._folder / name, received, reply)
        kind = "EntryNotFound" if path.startswith(f"/{self._id}/") else "RepoNotFound"
        # Without a token the Hub does not say whether a repository is private or not there:
        # huggingface_hub, utils/_http.py, `hf_raise_for_status`.
        hidden = kind == "RepoNotFound" and "authorization" not in received.headers
        said = "Invalid username or password." if hidden else "Not found"
        await reply.send(
            json.dumps({"error": said}).encode(),
            status=401 if hidden else 404,
            headers={"X-Error-Code": kind, "X-Error-Message": said},
        )

    def _details(self) -> dict[str, Any]:
        siblings = [{"rfilename": name} for name, _ in self._files()]
        return {"_id": "1", "id": self._id, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _files(self) -> list[tuple[str, Path]]:
        found = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return [(path.relative_to(self._folder).as_posix(), path) for path in found]


def _row(name: str, path: Path) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _digest(path)}


@cache
def _digest(path: Path) -> str:
    """Return the object id that Git gives a file."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


async def _send(path: Path, received: Received, reply: Reply) -> None:
    data = await asyncio.to_thread(path.read_bytes)
    about = {"ETag": f'"{_digest(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
    begin = int(received.headers.get("range", "bytes=0-").split("=")[1].split("-")[0])
    media_type = "application/octet-stream"
    if received.method == "HEAD":
        size = {"Content-Length": str(len(data))}
        return await reply.start(media_type=media_type, headers={**about, **size})
    if begin:
        about["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
    status = 206 if begin else 200
    await reply.send(data[begin:], status=status, media_type=media_type, headers=about)
