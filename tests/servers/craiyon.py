"""Craiyon as the package `craiyon.py` knows it, and as it treats what is no browser.

`POST /v3` takes JSON and answers `{"images": [nine paths], "next_prompt": ...}`; the pictures lie
on the same server here. What a request meets is its `Script`.
"""

import json
from dataclasses import dataclass, field

from tests.servers import pictures, scripted
from tests.servers.exchange import Received, Reply
from tests.servers.http import Server

VERSION = "35s5hfwn9n78gb06"
WALL = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@dataclass(frozen=True, kw_only=True)
class Script(scripted.Script):
    """What a request meets; the pictures with a number in `gone` cannot be fetched."""

    picture: bytes = field(default_factory=pictures.plain, repr=False)
    gone: frozenset[int] = frozenset()


class CraiyonServer(Server):
    """Draws nine pictures of one kind; `usual` is what every request meets."""

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()

    @property
    def drawings(self) -> list[Received]:
        """The requests that start work."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Answer one request."""
        script = self.usual
        match received.method, received.path.strip("/").split("/"):
            case "POST", ["v3"]:
                paths = [f"2026/picture/{number}.webp" for number in range(1, 10)]
                answer = {"images": paths, "next_prompt": "a lighthouse at dusk"}
                await script.send(json.dumps(answer).encode(), reply)
            case "GET", ["2026", "picture", name] if _number(name) not in script.gone:
                await reply.send(script.picture, media_type="image/png")
            case _:
                await reply.send(b"Not Found", status=404, media_type="text/plain")


def _number(name: str) -> int:
    return int(name.removesuffix(".webp"))
