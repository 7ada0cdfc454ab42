"""A hostile server: it answers every request with the keys that came with it."""

import base64
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.servers.pictures import plain


def texts(key: str) -> Iterator[str]:
    """Yield a key in the forms in which it is written back."""
    bare = key.removeprefix("Bearer ").removeprefix("Basic ").removeprefix("Bot ")
    yield from (key, bare, bare.upper(), bare.encode().hex(), " ".join(bare), bare[2:-2])
    yield base64.b64encode(key.encode()).decode()
    yield base64.b64encode(bare.encode()).decode()


class _Handler(BaseHTTPRequestHandler):
    """Answers with the keys of the request."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        keys = [value for name, value in self.headers.items() if name.lower() in KEY_HEADERS]
        echo = " ".join(text for key in keys for text in texts(key))
        assert isinstance(self.server, EchoServer)
        self.server.asked += 1
        status = self.server.status
        body = json.dumps(_body(echo, status)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-Id", echo[:200])
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


KEY_HEADERS = frozenset({"authorization", "x-goog-api-key", "api-key", "x-api-key", "cookie"})


class EchoServer(ThreadingHTTPServer):
    """Answers with `status`, and counts in `asked` how often it was asked."""

    status = 400
    asked = 0


def _body(echo: str, status: int) -> dict[str, Any]:
    """Return a body that has the keys wherever some service has a text; of 200, with a picture."""
    picture = base64.b64encode(plain()).decode()
    body: dict[str, Any] = {
        "message": echo,
        "detail": echo,
        "errors": [echo],
        "name": echo,
        "id": echo,
        "error": {"message": echo, "code": echo, "type": echo, "status": echo, "param": echo},
    }
    if status == 200:
        del body["error"], body["errors"]
        body["data"] = [{"b64_json": picture, "revised_prompt": echo}]
        body["images"], body["image"] = [picture], picture
        body["info"], body["finish_reason"] = json.dumps({"sd_model_name": echo}), echo
        body["usage"] = {"input_tokens": 1, "output_tokens": 1, echo: 1}
    return body


@contextmanager
def echoing() -> Generator[EchoServer]:
    """Serve on this machine; `status` is the status of the next answers."""
    server = EchoServer(("127.0.0.1", 0), _Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
