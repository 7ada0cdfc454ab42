"""A fake Craiyon as the package `craiyon.py` uses it, and as it responds to other clients.

`POST /v3` takes JSON and returns `{"images": [nine paths], "next_prompt": ...}`; the pictures are
on the same server here. `Script` says what happens to a request.
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
    """What happens to a request; the pictures with a number in `gone` cannot be downloaded."""

    picture: bytes = field(default_factory=pictures.plain, repr=False)
    gone: frozenset[int] = frozenset()


class CraiyonServer(Server):
    """Draws nine equal pictures; `usual` is the script of every request."""

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()

    @property
    def drawings(self) -> list[Received]:
        """The requests that start a job."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
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
