"""Midjourney's bot in a channel: the messages that it posts after a person has pasted a command.

`Drawing` posts one message at a time, in the format of 2026 or an older one. `Midjourney` plays a
whole job by its `Script`, as soon as a command is pasted.

    with Midjourney(TOKEN) as midjourney:
        drawing = midjourney.imagine("/imagine prompt: a lighthouse --seed 7")
        drawing.queued()
        drawing.progress(31)
        drawing.finish()
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers import pictures
from tests.servers.discord import DiscordServer
from tests.servers.discord_payloads import CHANNEL, GUILD, user

MIDJOURNEY = 936929561302675456
PERSON = 55


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens after a command is pasted.

    `embed` is posted instead of pictures, after `queued`; `silent` ends it there. `hang_up` closes
    the gateway for good once the job is queued, `drip` makes the gateway and the channel's history
    drip from then on.
    """

    delay: float = 0.0
    picture: bytes = field(default_factory=pictures.plain, repr=False)
    queued: bool = True
    embed: Mapping[str, Any] | None = None
    silent: bool = False
    hang_up: bool = False
    drip: bool = False


class Midjourney(DiscordServer):
    """A Discord server with Midjourney in it; `pasted` are the commands that people pasted."""

    def __init__(self, token: str, usual: Script | None = None) -> None:
        super().__init__(token)
        self.usual = usual or Script()
        self.pasted: list[str] = []
        self.drawings: list[Drawing] = []

    def imagine(self, command: str, *, old: bool = False) -> "Drawing":
        """Accept a command without posting anything yet."""
        self.pasted.append(command)
        self.drawings.append(Drawing(self, command.partition("prompt:")[2].strip(), old=old))
        return self.drawings[-1]

    def paste(self, command: str) -> None:
        """Accept a command and play the script in the server's loop."""
        drawing = self.imagine(command)
        asyncio.run_coroutine_threadsafe(self._play(drawing, self.usual), self._loop)

    async def _play(self, drawing: "Drawing", script: Script) -> None:
        if script.queued:
            drawing.queued()
        if script.hang_up:
            await asyncio.sleep(0.1)  # what was said is heard first
            self.deaf = True
            for socket in list(self._sockets):
                await socket.close(code=4000)
            return
        if script.drip:
            await asyncio.sleep(0.1)
            self.dripping = True
        if script.silent:
            return
        if script.embed is not None:
            drawing.embed(script.embed)
            return
        drawing.progress(31)
        await asyncio.sleep(script.delay)
        drawing.finish(script.picture)


class Drawing:
    """A job of Midjourney: `prompt` as its messages repeat it, `number` its job id."""

    def __init__(self, server: DiscordServer, prompt: str, *, old: bool = False) -> None:
        self.prompt = prompt
        self.number = str(uuid.uuid4())
        self.message: int | None = None
        self.grid: int | None = None
        self._server = server
        self._old = old

    def queued(self) -> None:
        """Post that the job is queued."""
        self.message = self._post(f"**{self.prompt}** - <@{PERSON}> (Waiting to start)")

    def progress(self, percent: int, picture: bytes | None = None) -> None:
        """Post the progress, with a small unfinished grid."""
        look = self._server.attach(f"{self.number}_grid_0.webp", _or_plain(picture, 32))
        changes: dict[str, Any] = {
            "content": f"**{self.prompt}** - <@{PERSON}> ({percent}%) (fast)",
            "attachments": [look],
            "components": _buttons(f"MJ::CancelJob::ByJobid::{self.number}"),
        }
        if self.message is None:
            self.message = self._post(**changes)
        else:
            self._server.edit(self.message, changes)

    def finish(self, picture: bytes | None = None, *, edited: bool = False) -> None:
        """Post the grid, as a new message or as a last edit, and delete the progress message."""
        grid = self._grid(f"- <@{PERSON}>{self._link()} (fast)", self.number, picture)
        if edited and self.message is not None:
            self._server.edit(self.message, grid)
            self.grid = self.message
            return
        self.remove()
        self.grid = self._post(**grid)

    def remove(self) -> None:
        """Delete the progress message."""
        if self.message is not None:
            self._server.delete(self.message)
            self.message = None

    def stop(self) -> None:
        """Stop the job, as its Cancel button does."""
        assert self.message is not None
        self._server.edit(self.message, {"content": f"**{self.prompt}** - <@{PERSON}> (Stopped)"})

    def embed(self, embed: Mapping[str, Any], *, quote: bool = True) -> None:
        """Post an embed whose footer quotes the command."""
        footer = {"footer": {"text": f"/imagine {self.prompt}"}} if quote else {}
        self._post("", embeds=[{"type": "rich", **embed, **footer}])

    def reroll(self, picture: bytes | None = None) -> None:
        """Draw the same prompt again, in reply to the grid."""
        again = self._grid(f"- <@{PERSON}>{self._link()} (fast)", str(uuid.uuid4()), picture)
        self._post(**again, message_reference=self._parent())

    def vary(self, picture: bytes | None = None) -> None:
        """Post variations: queued, in progress and finished, all with the same prompt and seed."""
        number = str(uuid.uuid4())
        tail = f"- Variations (Strong) by <@{PERSON}>"
        parent = self._parent()
        self._post(
            f"Making variations for image #1 with prompt **{self.prompt}** - <@{PERSON}> "
            "(Waiting to start)"
        )
        self._post(f"**{self.prompt}** {tail} (46%) (fast)", message_reference=parent)
        self._post(**self._grid(f"{tail} (fast)", number, picture), message_reference=parent)

    def upscale(self, picture: bytes | None = None) -> None:
        """Post one of the four pictures alone."""
        file = self._server.attach("one.png", _or_plain(picture))
        self._post(
            f"**{self.prompt}** - Image #2 <@{PERSON}>",
            attachments=[file],
            components=_buttons(f"MJ::JOB::upsample_v8_2x_subtle::1::{uuid.uuid4()}::SOLO"),
            message_reference=self._parent(),
        )

    def _grid(self, tail: str, number: str, picture: bytes | None) -> dict[str, Any]:
        file = self._server.attach(f"person_{number}.png", _or_plain(picture))
        names = [f"MJ::JOB::upsample::{place}::{number}" for place in range(1, 5)]
        names += [f"MJ::JOB::variation::{place}::{number}" for place in range(1, 5)]
        return {
            "content": f"**{self.prompt}** {tail}",
            "attachments": [file],
            "components": _buttons(f"MJ::JOB::reroll::0::{number}::SOLO", *names),
        }

    def _link(self) -> str:
        link = f" [(Open on website)](<https://midjourney.com/jobs/{self.number}>)"
        return "" if self._old else link

    def _parent(self) -> dict[str, Any]:
        return {"channel_id": str(CHANNEL), "guild_id": str(GUILD), "message_id": str(self.grid)}

    def _post(self, content: str, **more: Any) -> int:
        author = user(MIDJOURNEY, "Midjourney Bot")
        return self._server.post({"author": author, "content": content, **more})


def _or_plain(picture: bytes | None, side: int = 64) -> bytes:
    """Return the picture, even an empty one; a plain one for None."""
    return pictures.plain(side, side) if picture is None else picture


def _buttons(*names: str) -> list[dict[str, Any]]:
    """Return rows of at most five buttons."""
    buttons = [{"type": 2, "style": 2, "label": "-", "custom_id": name} for name in names]
    rows = [buttons[start : start + 5] for start in range(0, len(buttons), 5)]
    return [{"type": 1, "id": 1, "components": row} for row in rows]
