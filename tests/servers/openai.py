"""A fake of the image part of OpenAI's API, as its documentation describes it.

`POST /v1/images/generations` returns JSON with `b64_json` and `usage`, or server-sent events
`image_generation.partial_image` and `image_generation.completed`; `POST /v1/images/edits` takes a
form with a picture and returns the same (`image_edit...`); `GET /v1/models` lists models. A
`Script` says what happens to a request: queued for the next one, set for a model, or `usual`.

    python -m tests.servers.openai --port 8399 --delay 2 --log requests.jsonl
"""

import argparse
import asyncio
import base64
import functools
import json
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.servers import pictures
from tests.servers.exchange import Cut, Received, Reply
from tests.servers.http import Server
from tests.servers.openai_script import USAGE, Script, failing

MODELS = ("gpt-image-2", "gpt-image-2.6-flare", "gpt-image-2.6-sunburst")


class OpenAIServer(Server):
    """Serves the API; `usual` is the script of requests that have no other.

    With a `key`, models are listed for that key only.
    """

    def __init__(self, usual: Script | None = None, *, port: int = 0, log: Path | None = None):
        super().__init__(port=port, log=log)
        self.usual = usual or Script()
        self.queue: deque[Script] = deque()
        self.models: dict[str, Script] = {}
        self.key: str | None = None
        pictures.noise()  # made before anybody waits for it

    @property
    def base_url(self) -> str:
        """The value for OPENAI_BASE_URL."""
        return f"{self.origin}/v1"

    @property
    def generations(self) -> list[Received]:
        """The requests that a real service would bill."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        match received.method, received.path.partition("?")[0]:
            case "GET", "/v1/models" if self._is_rejected(received):
                wrong = failing(401, "invalid_api_key", "Incorrect API key provided.")
                await reply.send(json.dumps({"error": wrong.error}).encode(), status=401)
            case "GET", "/v1/models":
                row = {"object": "model", "created": 1, "owned_by": "test"}
                rows = [{"id": name, **row} for name in MODELS]
                await reply.send(json.dumps({"object": "list", "data": rows}).encode())
            case "GET", "/picture":
                await reply.send(self.usual.picture or pictures.noise(), media_type="image/png")
            case "POST", "/v1/images/generations":
                await self._generate(received.json, reply)
            case "POST", "/v1/images/edits" if "image" in received.form.files:
                await self._generate({**received.form.fields, "edits": True}, reply)
            case _:
                wrong = failing(404, message=f"Invalid URL ({received.method} {received.path})")
                await reply.send(json.dumps({"error": wrong.error}).encode(), status=404)

    def _is_rejected(self, received: Received) -> bool:
        return self.key is not None and received.headers["authorization"] != f"Bearer {self.key}"

    async def _generate(self, body: dict[str, Any], reply: Reply) -> None:
        script = (
            self.queue.popleft()
            if self.queue
            else self.models.get(str(body.get("model")), self.usual)
        )
        if body.get("stream") and script.stream and script.status is None and script.raw is None:
            await self._stream(script, body, reply)
            return
        await asyncio.sleep(script.delay)
        if script.hang:
            await asyncio.sleep(3600)
        if script.status is not None and script.raw is None:
            answer = json.dumps({"error": script.error}).encode()
        else:
            answer = script.raw if script.raw is not None else self._response_body(script, body)
        await _send_scripted(answer, script, reply)

    def _response_body(self, script: Script, body: dict[str, Any]) -> bytes:
        picture = script.picture if script.picture is not None else pictures.noise()
        one = (
            json.dumps({"url": f"{self.origin}/picture"}).encode()
            if script.url
            else b'{"b64_json":"' + _base64(picture) + b'"}'
        )
        data = b",".join([one] * int(body.get("n") or 1))
        rest = {
            "created": 1,
            **_drawn_as(body),
            "usage": _usage(script, body),
            **script.extra,
        }
        return b'{"data":[' + data + b"]," + json.dumps(rest).encode()[1:]

    async def _stream(self, script: Script, body: dict[str, Any], reply: Reply) -> None:
        picture = script.picture if script.picture is not None else pictures.noise()
        partial = script.partial if script.partial is not None else picture
        count = int(body.get("partial_images") or 0)
        kind = "image_edit" if "edits" in body else "image_generation"
        await reply.start(media_type="text/event-stream", headers={"Transfer-Encoding": "chunked"})
        for index in range(count):
            await asyncio.sleep(script.delay / (count + 1))
            facts = {"created_at": 1, **_drawn_as(body), "partial_image_index": index}
            look = _event(f"{kind}.partial_image", partial, facts)
            await reply.chunk(look if script.names else look.partition(b"\n")[2])
        await asyncio.sleep(script.delay / (count + 1))
        if script.hang:
            await asyncio.sleep(3600)
        if script.stream_error is not None:
            data = json.dumps({"type": "error", "error": script.stream_error}).encode()
            await reply.chunk(b"event: error\ndata: " + data + b"\n\n")
        elif not script.unfinished:
            facts = {"created_at": 1, **_drawn_as(body)}
            more = {**facts, "usage": _usage(script, body), **script.extra}
            last = _event(f"{kind}.completed", picture, more)
            last = last if script.names else last.partition(b"\n")[2]
            if script.cut is not None:
                await reply.write(b"%x\r\n" % len(last) + last[: script.cut])
                raise Cut
            await reply.chunk(last)
        if script.linger:
            await asyncio.sleep(3600)
        await reply.chunk(b"")


def _drawn_as(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response says of its pictures; what was left to the service is left out.

    openai-python: types/images_response.py, types/image_gen_completed_event.py
    """
    chosen = {name: body.get(name) for name in ("size", "quality")}
    said = {name: value for name, value in chosen.items() if value not in (None, "auto")}
    return {"background": "opaque", "output_format": "png", **said}


def _usage(script: Script, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the usage of all pictures of a request, with the tokens of a picture to edit.

    https://platform.openai.com/docs/api-reference/images/object: `usage` is that of the request.
    """
    if script.usage is not USAGE:
        return script.usage
    images = 323 if "edits" in body else 0
    texts, drawn = USAGE["input_tokens"], USAGE["output_tokens"] * int(body.get("n") or 1)
    return {
        "input_tokens": texts + images,
        "input_tokens_details": {"text_tokens": texts, "image_tokens": images},
        "output_tokens": drawn,
        "total_tokens": texts + images + drawn,
    }


async def _send_scripted(answer: bytes, script: Script, reply: Reply) -> None:
    length = {"Content-Length": str(len(answer))}
    await reply.start(
        status=script.status or 200,
        media_type=script.media_type,
        headers={**length, **script.headers},
    )
    if script.cut is not None:
        await reply.write(answer[: script.cut])
        raise Cut
    pieces = script.pieces if script.drip else 1
    step = -(-len(answer) // pieces)
    for start in range(0, len(answer), step or 1):
        await reply.write(answer[start : start + step])
        await asyncio.sleep(script.drip)


@functools.lru_cache
def _base64(picture: bytes) -> bytes:
    return base64.b64encode(picture)


def _event(kind: str, picture: bytes, more: Mapping[str, Any]) -> bytes:
    name = kind.encode()
    rest = json.dumps(dict(more)).encode()[1:]
    head = b"event: " + name + b'\ndata: {"type":"' + name + b'","b64_json":"'
    return head + _base64(picture) + b'",' + rest + b"\n\n"


def main() -> None:
    """Serve until the process is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8399)
    parser.add_argument("--delay", type=float, default=2.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--fail", metavar="MODEL=STATUS", action="append", default=[])
    parsed = parser.parse_args()
    with OpenAIServer(Script(delay=parsed.delay), port=parsed.port, log=parsed.log) as server:
        for model, _, status in (rule.partition("=") for rule in parsed.fail):
            server.models[model] = replace(failing(int(status)), delay=parsed.delay)
        print(server.base_url, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
