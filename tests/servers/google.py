"""The image part of Google's Gemini API, as its documentation describes the wire.

`POST /v1/models/<model>:generateContent` answers JSON: candidates with a picture in base64, why
there is none, and counted tokens. What a request meets is its `Script`: queued for the next one,
or the usual.
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
    """What one request meets; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after so many bytes of the answer, `drip` sends one byte and pauses.
    `blocked` is why the prompt is declined; `parts` takes the place of the picture, and `finish`
    says why the model stopped.
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
    """A script that answers with the API's error object."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return Script(status=code, error={"error": error}, **more)


def retry_info(delay: str) -> dict[str, str]:
    """The detail of an error that says how long to wait."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def error_info(reason: str) -> dict[str, str]:
    """The detail of an error that gives its reason in one word."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }


def picture_part(picture: bytes, **more: Any) -> dict[str, Any]:
    """The part of an answer that holds a picture."""
    data = base64.b64encode(picture).decode()
    return {"inlineData": {"mimeType": "image/png", "data": data}, **more}


class GoogleServer(Server):
    """Speaks the API; `usual` is the script of requests that have no other.

    `models` is what the list of models meets.
    """

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()
        self.queue: deque[Script] = deque()
        self.models = Script()

    @property
    def generations(self) -> list[Received]:
        """The requests that would have cost money."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Answer one request."""
        if received.method == "GET" and received.path.partition("?")[0].endswith("/models"):
            listed = json.dumps(self.models.error or {"models": [{"name": "models/any"}]})
            await _send(listed.encode(), self.models, reply)
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
        answer = json.dumps(script.error or _answer(script, model)).encode()
        await _send(answer if script.raw is None else script.raw, script, reply)


def _answer(script: Script, model: str) -> dict[str, Any]:
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


async def _send(answer: bytes, script: Script, reply: Reply) -> None:
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
