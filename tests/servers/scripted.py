"""Script of one request whose response is a single body, shared by several servers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.servers.exchange import Cut, Reply


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to a request; the first of `hang`, `raw` that is set decides.

    `raw` replaces the server's own response. `cut` drops the connection after that many bytes,
    `drip` sends one byte at a time with that pause after each.
    """

    delay: float = 0.0
    hang: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    media_type: str = "application/json"
    cut: int | None = None
    drip: float = 0.0

    async def send(self, answer: bytes, reply: Reply) -> None:
        """Respond as the script says."""
        await asyncio.sleep(self.delay)
        if self.hang:
            await asyncio.sleep(3600)
        answer = answer if self.raw is None else self.raw
        await reply.start(
            status=self.status,
            media_type=self.media_type,
            headers={"Content-Length": str(len(answer)), **self.headers},
        )
        if self.cut is not None:
            await reply.write(answer[: self.cut])
            raise Cut
        if not self.drip:
            await reply.write(answer)
            return
        for byte in answer:
            await reply.write(bytes([byte]))
            await asyncio.sleep(self.drip)
