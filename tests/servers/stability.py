"""A fake of Stability AI's image API, as its documentation describes it.

`POST /v2beta/stable-image/{generate,control}/<service>` takes a multipart form and returns JSON
with the picture in base64; `GET /v1/user/balance` returns the remaining credits. A `Script` says
what happens to a request: queued for the next one, or `usual`.
"""

import base64
import json
from collections import deque
from dataclasses import dataclass, field

from tests.servers import pictures, scripted
from tests.servers.exchange import Received, Reply
from tests.servers.http import Server

CREDITS = {
    "generate/ultra": 8.0,
    "generate/core": 3.0,
    "sd3.5-large": 6.5,
    "sd3.5-large-turbo": 4.0,
    "sd3.5-medium": 3.5,
    "control/sketch": 5.0,
    "control/structure": 5.0,
}
SUCCESS, FILTERED = "SUCCESS", "CONTENT_FILTERED"


@dataclass(frozen=True, kw_only=True)
class Script(scripted.Script):
    """What happens to one request: its picture, and the verdict of moderation."""

    picture: bytes = field(default_factory=pictures.plain, repr=False)
    finish: str = SUCCESS


def failing(status: int, name: str, *errors: str, **headers: str) -> Script:
    """Return a script that responds with the API's error object."""
    error = {"id": "a1b2c3", "name": name, "errors": list(errors)}
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return Script(status=status, raw=json.dumps(error).encode(), headers=named)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One request for a picture: the texts of its form by name, and the picture in it."""

    path: str
    fields: dict[str, str]
    image: bytes | None


class StabilityServer(Server):
    """Serves the API and keeps an account; `balances` is the script of balance requests, if set."""

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()
        self.queue: deque[Script] = deque()
        self.credits = 100.0
        self.balances: scripted.Script | None = None

    @property
    def generations(self) -> list[Received]:
        """The requests that a real service would bill."""
        return [received for received in self.requests if received.method == "POST"]

    @property
    def forms(self) -> list[Form]:
        """The forms of the requests, in order."""
        return [form(received) for received in self.generations]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        match received.method, received.path.removeprefix("/v2beta/stable-image/"):
            case "GET", "/v1/user/balance":
                answer = json.dumps({"credits": self.credits}).encode()
                await (self.balances or Script()).send(answer, reply)
            case "POST", "generate/core" | "generate/ultra" | "generate/sd3":
                await self._generate(form(received), reply)
            case "POST", "control/sketch" | "control/structure":
                await self._generate(form(received), reply)
            case _:
                await failing(404, "not_found", "There is nothing here.").send(b"", reply)

    async def _generate(self, asked: Form, reply: Reply) -> None:
        script = self.queue.popleft() if self.queue else self.usual
        answer = {
            "image": base64.b64encode(script.picture).decode(),
            "finish_reason": script.finish,
            "seed": int(asked.fields.get("seed", "0")) or 4_000_000_000,
        }
        if script.status == 200:
            self.credits -= CREDITS[asked.fields.get("model", asked.path)]
        await script.send(json.dumps(answer).encode(), reply)


def form(received: Received) -> Form:
    """Parse the multipart form of a request."""
    path = received.path.removeprefix("/v2beta/stable-image/")
    image = received.form.files.get("image")
    return Form(path=path, fields=received.form.fields, image=image[1] if image else None)
