"""A fake of the chat part of three APIs, as their documentation describes them.

`POST /v1/chat/completions` is OpenAI's and that of Hugging Face's router; `POST
/v1/models/<model>:generateContent` is Google's. All respond with `text`, or as the `Script` says.
"""

import json
from typing import Any

from tests.servers.exchange import Received, Reply
from tests.servers.http import Server
from tests.servers.scripted import Script

REWRITTEN = "a red star beside a blue ring, flat shapes on a white background"


class ChatServer(Server):
    """Serves all three; `finish` is the finish reason, `usage` says whether tokens are counted."""

    def __init__(self, script: Script | None = None, *, text: str | None = REWRITTEN) -> None:
        super().__init__()
        self.script = script or Script()
        self.text = text
        self.finish = ""
        self.refusal: str | None = None
        self.blocked = ""
        self.usage = True

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        path = received.path.partition("?")[0]
        match received.method, path.strip("/").split("/"):
            case "POST", ["v1", "chat", "completions"]:
                answer = self._completion(str(received.json.get("model")))
            case "POST", ["v1", "models", *_, call] if call.endswith(":generateContent"):
                answer = self._content()
            case _:
                await reply.send(b"Not Found", status=404, media_type="text/plain")
                return
        await self.script.send(json.dumps(answer).encode(), reply)

    def _completion(self, model: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish or "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 31, "total_tokens": 231}
        return {
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            **({"usage": usage} if self.usage else {}),
        }

    def _content(self) -> dict[str, Any]:
        if self.blocked:
            return {"promptFeedback": {"blockReason": self.blocked}}
        parts = [{"text": "Let me think.", "thought": True}]
        if self.text is not None:
            parts.append({"text": self.text})
        usage = {"promptTokenCount": 200, "candidatesTokenCount": 21, "thoughtsTokenCount": 10}
        content = {"role": "model", "parts": parts}
        return {
            "candidates": [{"content": content, "finishReason": self.finish or "STOP"}],
            **({"usageMetadata": usage} if self.usage else {}),
        }
