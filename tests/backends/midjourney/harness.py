"""Midjourney over Discord, and a person who pastes every command at once."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Self

from backends.base import Backend, Config, Event, Model, Queued, Request
from backends.midjourney import Midjourney as MidjourneyBackend
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.backends.midjourney.case import MODEL, TOKEN, settings
from tests.servers import pictures
from tests.servers.discord import Answer
from tests.servers.midjourney import Midjourney, Script

HTML = Answer(body=b"<html><body>Bad gateway</body></html>", media_type="text/html")
BUSY = {"message": "You are being rate limited.", "retry_after": RETRY_AFTER, "global": False}

ANSWERS = {
    Fault.WRONG_KEY: {"/users/@me": Answer(body=b'{"message":"401: Unauthorized"}', status=401)},
    Fault.FORBIDDEN: {"/channels/33": Answer(body=b'{"message":"Missing Access"}', status=403)},
    Fault.BUSY_FOR: {
        "/users/@me": Answer(
            body=json.dumps(BUSY).encode(),
            status=429,
            headers={"Via": "1.1 google", "Retry-After": f"{RETRY_AFTER:g}"},
        )
    },
    Fault.BUSY: {
        "/users/@me": Answer(body=b"error code: 1015", status=429, media_type="text/plain")
    },
    # discord.py asks five times, 25 seconds in all, where its own requests fail so.
    Fault.ERROR_500: {".png": Answer(body=b"Internal Server Error", status=500)},
    Fault.ERROR_503: {
        "/users/@me": Answer(body=b"Service Unavailable", status=503, media_type="text/plain")
    },
    Fault.TRUNCATED: {"/users/@me": Answer(body=b'{"id": "1')},
    Fault.HTML: {"/users/@me": HTML},
    Fault.MISSING_FIELD: {"/users/@me": Answer(body=b'{"username": "listener"}')},
}
SCRIPTS = {
    Fault.NO_CREDIT: Script(
        embed={"title": "Subscription required", "description": "No plan.", "color": 0xFF0000}
    ),
    Fault.MODERATED_PROMPT: Script(
        queued=False,
        embed={"title": "Banned prompt", "description": "Circumventing it.", "color": 0xFF0000},
    ),
    Fault.MODERATED_PICTURE: Script(
        embed={"title": "Job cancelled", "description": "Image filters.", "color": 0xFF0000}
    ),
    Fault.RETIRED_MODEL: Script(
        queued=False,
        embed={"title": "Invalid parameter", "description": "No such --v.", "color": 0xFF0000},
    ),
    Fault.NO_ANSWER: Script(silent=True),
    Fault.CUT: Script(hang_up=True),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=True),
}


class MidjourneyHarness(Harness):
    """The backend `midjourney` beside Discord, with Midjourney in the channel."""

    backend = "midjourney"
    model = MODEL
    request = Request(prompt="a lighthouse", width=32, height=32, seed=7)
    secret = TOKEN

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = Midjourney(TOKEN).__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """Stop it."""
        self.server.__exit__(*how)

    @property
    def origin(self) -> str:
        """The server's address."""
        return self.server.origin

    def settings(self, origin: str) -> dict[str, str]:
        """Return a bot, its channel, and short time limits."""
        return settings(origin)

    def create(self, home: Path, *, origin: str | None = None, **settings: str) -> Backend:
        """Return the backend, with a person present who pastes commands."""
        values = {**self.settings(origin or self.origin), **settings}
        return _Attended(Config(value=values.get, home=home), self.server)

    def meet(self, fault: Fault) -> None:
        """Let Discord or Midjourney cause the fault."""
        self.server.answers = ANSWERS.get(fault, {})
        self.server.usual = SCRIPTS.get(fault, self.server.usual)

    def slow(self, seconds: float) -> None:
        """Let Midjourney take `seconds` for its grid."""
        self.server.usual = Script(delay=seconds)

    @property
    def billable(self) -> int:
        """How many commands were pasted."""
        return len(self.server.pasted)

    def stopped(self) -> bool:
        """Return True if a grid that is finished now is not downloaded, the only visible sign."""
        before = len(self.server.fetched)
        self.server.drawings[-1].finish()
        time.sleep(0.5)
        return not any("person" in path for path in self.server.fetched[before:])


class _Attended(MidjourneyBackend):
    """The backend, with a person present who pastes each command that it shows."""

    def __init__(self, config: Config, server: Midjourney) -> None:
        super().__init__(config)
        self._server = server

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        async with aclosing(super().generate(model, request)) as events:
            async for event in events:
                if isinstance(event, Queued) and event.command:
                    self._server.paste(event.command)
                yield event
