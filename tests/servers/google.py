"""A fake of the image part of Google's Gemini API, as its documentation describes it.

`POST /v1/models/<model>:generateContent` returns JSON: candidates with a picture in base64, the
reason if there is none, and token counts. A `Script` says what happens to a request: queued for the
next one, or `usual`.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.servers import pictures
from tests.servers.exchange import Cut, Received, Reply
from tests.servers.http import Server

USAGE: Mapping[str, Any] = {
    "promptTokenCount": 12,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
    "candidatesTokenCount": 1130,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    "thoughtsTokenCount": 90,
    "totalTokenCount": 1232,
}


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to one request; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after that many bytes of the response, `drip` sends one byte and
    pauses. `blocked` is the reason for declining the prompt; `parts` replaces the picture, and
    `finish` is the model's finish reason.
    """

    delay: float = 0.0
    hang: bool = False
    status: int | None = None
    error: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    media_type: str = "application/json"
    cut: int | None = None
    drip: float = 0.0
    picture: bytes = field(default_factory=pictures.plain, repr=False)
    parts: Sequence[Mapping[str, Any]] | None = None
    finish: str | None = "STOP"
    message: str | None = None
    blocked: str | None = None
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)


def failing(
    code: int, status: str, message: str, *details: Mapping[str, Any], **more: Any
) -> Script:
    """Return a script that responds with the API's error object."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return Script(status=code, error={"error": error}, **more)


def retry_info(delay: str) -> dict[str, str]:
    """Return the error detail that says how long to wait."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def error_info(reason: str) -> dict[str, str]:
    """Return the error detail that gives the reason in one word."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }


def picture_part(picture: bytes, **more: Any) -> dict[str, Any]:
    """Return the part of a response that holds a picture."""
    data = base64.b64encode(picture).decode()
    return {"inlineData": {"mimeType": "image/png", "data": data}, **more}


class GoogleServer(Server):
    """Serves the API; `usual` is the script of requests that have no other.

    `models` is the script of requests for the list of models.
    """

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()
        self.queue: deque[Script] = deque()
        self.models = Script()

    @property
    def generations(self) -> list[Received]:
        """The requests that a real service would bill."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        if received.method == "GET" and received.path.partition("?")[0].endswith("/models"):
            listed = json.dumps(self.models.error or {"models": [{"name": "models/any"}]})
            await _send_scripted(listed.encode(), self.models, reply)
            return
        version, models, call = received.path.strip("/").split("/", 2)
        model, _, verb = call.partition(":")
        known = version in ("v1", "v1beta") and models == "models" and verb == "generateContent"
        if received.method != "POST" or not known:
            await reply.send(b"<html>Not Found</html>", status=404, media_type="text/html")
            return
        script = self.queue.popleft() if self.queue else self.usual
        await asyncio.sleep(script.delay)
        if script.hang:
            await asyncio.sleep(3600)
        answer = json.dumps(script.error or _response_body(script, model)).encode()
        await _send_scripted(answer if script.raw is None else script.raw, script, reply)


def _response_body(script: Script, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"modelVersion": model, "responseId": "r1"}
    if script.usage is not None:
        answer["usageMetadata"] = dict(script.usage)
    if script.blocked is not None:
        return {**answer, "promptFeedback": {"blockReason": script.blocked}}
    candidate: dict[str, Any] = {"index": 0}
    parts = [picture_part(script.picture)] if script.parts is None else list(script.parts)
    if parts:
        candidate["content"] = {"role": "model", "parts": parts}
    if script.finish is not None:
        candidate["finishReason"] = script.finish
    if script.message is not None:
        candidate["finishMessage"] = script.message
    return {**answer, "candidates": [candidate]}


async def _send_scripted(answer: bytes, script: Script, reply: Reply) -> None:
    await reply.start(
        status=script.status or 200,
        media_type=script.media_type,
        headers={"Content-Length": str(len(answer)), **script.headers},
    )
    if script.cut is not None:
        await reply.write(answer[: script.cut])
        raise Cut
    if not script.drip:
        await reply.write(answer)
        return
    for byte in answer:
        await reply.write(bytes([byte]))
        await asyncio.sleep(script.drip)
