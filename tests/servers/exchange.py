"""A request as the server received it, and the response to it."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from typing import Any


@dataclass(kw_only=True)
class Received:
    """One request; `ended` says how it ended."""

    number: int
    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: float = field(default_factory=time.time)
    ended: str = "open"

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object of the body, empty if there is none."""
        return json.loads(self.body) if self.body else {}

    @property
    def form(self) -> "Form":
        """The multipart form of the body."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        assert message.get_content_type() == "multipart/form-data"
        form = Form()
        for part in message.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            if file := part.get_filename():
                form.files[name] = (file, data, part.get_content_type())
            else:
                form.fields[name] = data.decode()
        return form


@dataclass
class Form:
    """A multipart form: its texts by name, and its files, each a name, bytes and a media type."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, tuple[str, bytes, str]] = field(
        default_factory=dict[str, tuple[str, bytes, str]]
    )


class Cut(Exception):
    """Raised in `handle` to drop the connection at once."""


class Reply:
    """The response to one client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(
        self,
        body: bytes,
        *,
        status: int = 200,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a complete response."""
        await self.start(
            status=status,
            media_type=media_type,
            headers={"Content-Length": str(len(body)), **(headers or {})},
        )
        await self.write(body)

    async def start(
        self, *, status: int = 200, media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head only; `write` or `chunk` follow."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {media_type}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.write("\r\n".join([*lines, "", ""]).encode())

    async def write(self, data: bytes) -> None:
        """Send bytes unchanged."""
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a `Transfer-Encoding: chunked` body; empty data ends it."""
        self._writer.write(b"%x\r\n" % len(data))
        self._writer.write(data)
        await self.write(b"\r\n")
