"""The HTML document as Lineup sends it: Gradio's, with a head of our own.

Gradio's template names its own link preview, which a browser or a chat client would fetch from
another server, and adds the page's styles only when its scripts have run.
"""

import re
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui import page_files

_PREVIEW: Final = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
_ROOT: Final = re.compile(r'"root":"([^"]*)"')
_HEAD_END: Final = "</head>"
_BODY_END: Final = "</body>"


class Document:
    """The ASGI middleware that changes the head of the page at `/`; all else passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and change the document on its way back."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Changed(send))


class _Changed:
    """A `send` that keeps a document back until it is complete, then sends the changed one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: MutableMapping[str, Any] = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish()

    async def _finish(self) -> None:
        headers = MutableHeaders(raw=self._start["headers"])
        if headers.get("content-type", "").startswith("text/html"):
            self._body = with_head(self._body.decode()).encode()
            headers["content-length"] = str(len(self._body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})


def with_head(document: str) -> str:
    """Return Gradio's document with our icon, styles and link preview in its head."""
    root = _ROOT.search(document)
    plain = _PREVIEW.sub("", document)
    head, end, body = plain.partition(_HEAD_END)
    main, foot, rest = body.rpartition(_BODY_END)
    head += page_files.head(root[1] if root else "")
    return f"{head}{end}{main}{page_files.styles()}{foot}{rest}"
