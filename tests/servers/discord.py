"""A fake Discord for a bot that reads one channel: the HTTP API, the gateway, the CDN.

The real discord.py connects to it. HTTP requests go to a small server, the gateway is a websocket
on its own port. `post`, `edit` and `delete` change the channel; listening clients receive the
events, and so do clients that resume a session later. Faults are set as `answers`, `close_code` or
`dripping`.
"""

import asyncio
import datetime
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from aiohttp import WSMsgType, web

from tests.servers import discord_payloads as payloads
from tests.servers.discord_payloads import BOT, CHANNEL, GUILD
from tests.servers.exchange import Cut, Received, Reply
from tests.servers.http import Server

EPOCH = 1420070400000
"""Discord's epoch: milliseconds after 1970."""

API = "/api/v10"
MESSAGE_CONTENT = 1 << 15


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response that replaces the regular one of a path; `hang` never responds."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    media_type: str = "application/json"
    hang: bool = False
    cut: int | None = None


class DiscordServer(Server):
    """Serves the API; `token` is the accepted one.

    `answers` maps the end of a path to its response. `close_code` closes connections that identify
    at the gateway, `deaf` refuses all connections. `dripping` sends events and the history a byte a
    second. `identified` and `resumed` count sessions.
    """

    def __init__(self, token: str, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.token = token
        self.answers: dict[str, Answer] = {}
        self.files: dict[str, bytes] = {}
        self.close_code: int | None = None
        self.deaf = False
        self.dripping = False
        self.resumable = True
        self.identified = 0
        self.resumed = 0
        self.spoken: list[int] = []
        self._gateway_port = 0
        self._messages: dict[int, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._sockets: dict[web.WebSocketResponse, web.Request] = {}
        self._lock = threading.Lock()
        self._last_id = self._snowflake()

    # What happens in the channel; from any thread.

    def post(self, message: Mapping[str, Any]) -> int:
        """Post a message to the channel and return its id."""
        with self._lock:
            self._last_id = max(self._last_id + 1, self._snowflake())
            number = self._last_id
            self._messages[number] = whole = {
                **payloads.message(),
                **message,
                "id": str(number),
                "timestamp": _now(),
            }
            self._dispatch("MESSAGE_CREATE", {**whole, "guild_id": str(GUILD)})
        return number

    def edit(self, number: int, changes: Mapping[str, Any]) -> None:
        """Edit a message."""
        with self._lock:
            whole = self._messages[number]
            whole |= {**changes, "edited_timestamp": _now()}
            self._dispatch("MESSAGE_UPDATE", {**whole, "guild_id": str(GUILD)})

    def delete(self, number: int) -> None:
        """Delete a message."""
        with self._lock:
            whole = self._messages.pop(number)
            where = {"guild_id": str(GUILD), "channel_id": whole["channel_id"]}
            self._dispatch("MESSAGE_DELETE", {"id": str(number), **where})

    def attach(self, name: str, data: bytes) -> dict[str, Any]:
        """Put a file on the CDN; return it as an attachment of a message."""
        with self._lock:
            path = f"/attachments/{CHANNEL}/{len(self.files) + 1}/{name}"
            self.files[path] = data
            number = len(self.files)
        return {
            "id": str(number),
            "filename": name,
            "size": len(data),
            "url": f"{self.origin}{path}?ex=6a&is=6b&hm=6c&",
            "proxy_url": f"{self.origin}{path}?ex=6a&is=6b&hm=6c&",
            "content_type": f"image/{name.rpartition('.')[2]}",
        }

    def hang_up(self, code: int = 4000) -> None:
        """Close all connections of the gateway."""
        for socket in list(self._sockets):
            asyncio.run_coroutine_threadsafe(socket.close(code=code), self._loop).result(5)

    @property
    def fetched(self) -> list[str]:
        """The paths of the CDN's files that were requested, in order."""
        paths = [urlsplit(received.path).path for received in self.requests]
        return [path for path in paths if path.startswith("/attachments/")]

    @property
    def listening(self) -> int:
        """The number of connections to the gateway."""
        return len(self._sockets)

    # The HTTP API and the CDN.

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        path = urlsplit(received.path).path
        wrong = next((self.answers[end] for end in self.answers if path.endswith(end)), None)
        if wrong is not None:
            await _respond(wrong, reply)
        elif path in self.files:
            await reply.send(self.files[path], media_type="image/png")
        elif received.headers.get("authorization") != f"Bot {self.token}":
            await _send_json(reply, {"message": "401: Unauthorized", "code": 0}, 401)
        elif self.dripping and path.endswith("/messages"):
            await _drip(reply)
        elif received.method != "GET":
            await _send_json(reply, {"message": "405: Method Not Allowed", "code": 0}, 405)
        else:
            known = self._lookup(path.removeprefix(API), parse_qs(urlsplit(received.path).query))
            missing = {"message": "404: Not Found", "code": 0}
            if "/channels/" in path:
                missing = {"message": "Unknown Channel", "code": 10003}
            found = missing if known is None else known
            await _send_json(reply, found, 404 if known is None else 200)

    def _lookup(self, path: str, query: Mapping[str, list[str]]) -> object | None:
        match path:
            case "/users/@me":
                return payloads.user(BOT, "listener")
            case "/oauth2/applications/@me":
                return payloads.application()
            case "/gateway/bot":
                limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
                return {"url": self._gateway, "shards": 1, "session_start_limit": limit}
            case _ if path == f"/channels/{CHANNEL}":
                with self._lock:
                    return {**payloads.channel(), "last_message_id": str(self._last_id)}
            case _ if path == f"/channels/{CHANNEL}/messages":
                return self._history(query)
            case _:
                return None

    def _history(self, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        after, limit = int(query.get("after", ["0"])[0]), int(query.get("limit", ["50"])[0])
        with self._lock:
            mine = [
                dict(message)
                for number, message in self._messages.items()
                if number > after and message["channel_id"] == str(CHANNEL)
            ]
        return mine[:limit][::-1]

    # The gateway.

    @property
    def _gateway(self) -> str:
        return f"ws://127.0.0.1:{self._gateway_port}"

    def __enter__(self) -> Self:
        super().__enter__()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *how: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        super().__exit__(*how)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._listen)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._gateway_port = self._runner.addresses[0][1]

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        if self.deaf:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(timeout=0.5)
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 41250}})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._handle_payload(json.loads(message.data), socket, request)
        finally:
            self._sockets.pop(socket, None)
        return socket

    async def _handle_payload(
        self, payload: Mapping[str, Any], socket: web.WebSocketResponse, request: web.Request
    ) -> None:
        self.spoken.append(payload["op"])
        match payload["op"]:
            case 1:
                await socket.send_json({"op": 11})
            case 2:
                await self._identify(payload["d"], socket, request)
            case 6:
                await self._resume(payload["d"], socket, request)
            case _:
                await socket.close(code=4001)

    async def _identify(
        self, payload: Mapping[str, Any], socket: web.WebSocketResponse, request: web.Request
    ) -> None:
        if payload["token"] != self.token:
            await socket.close(code=4004)
        elif self.close_code is not None:
            await socket.close(code=self.close_code)
        else:
            assert payload["intents"] & MESSAGE_CONTENT, "without it messages come empty"
            self.identified += 1
            with self._lock:
                self._events.clear()
                self._dispatch("READY", self._ready_payload())
                self._dispatch("GUILD_CREATE", payloads.guild())
                events = list(self._events)
                self._sockets[socket] = request
            await self._send(events, socket)

    async def _resume(
        self, payload: Mapping[str, Any], socket: web.WebSocketResponse, request: web.Request
    ) -> None:
        if not self.resumable:
            await socket.send_json({"op": 9, "d": False})
            return
        self.resumed += 1
        with self._lock:
            events = [event for event in self._events if event["s"] > payload["seq"]]
            self._dispatch("RESUMED", {})
            events.append(self._events[-1])
            self._sockets[socket] = request
        await self._send(events, socket)

    def _ready_payload(self) -> dict[str, Any]:
        return {
            "v": 10,
            "user": payloads.user(BOT, "listener"),
            "guilds": [{"id": str(GUILD), "unavailable": True}],
            "session_id": f"session {self.identified}",
            "resume_gateway_url": self._gateway,
            "application": {"id": str(BOT), "flags": 1 << 19},
        }

    def _dispatch(self, name: str, data: Mapping[str, Any]) -> None:
        """Store an event for resumed sessions and send it to all connections; requires the lock."""
        event = {"op": 0, "t": name, "s": len(self._events) + 1, "d": json.loads(json.dumps(data))}
        self._events.append(event)
        for socket in self._sockets:
            asyncio.run_coroutine_threadsafe(self._send([event], socket), self._loop)

    async def _send(self, events: list[dict[str, Any]], socket: web.WebSocketResponse) -> None:
        for event in events:
            if socket.closed:
                return
            if self.dripping:
                await self._drip(json.dumps(event).encode(), self._sockets[socket])
            else:
                await socket.send_json(event)

    async def _drip(self, data: bytes, request: web.Request) -> None:
        """Send one text frame, a byte a second."""
        for byte in b"\x81\x7e" + len(data).to_bytes(2, "big") + data:
            if request.transport is None:
                return
            request.transport.write(bytes((byte,)))
            await asyncio.sleep(1)

    @staticmethod
    def _snowflake() -> int:
        now = datetime.datetime.now(datetime.UTC).timestamp()
        return (int(now * 1000) - EPOCH) << 22


async def _send_json(reply: Reply, answer: object, status: int = 200) -> None:
    # https://discord.com/developers/docs/topics/rate-limits#header-format
    limit = {
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "4",
        "X-RateLimit-Reset": f"{datetime.datetime.now(datetime.UTC).timestamp() + 1:.3f}",
        "X-RateLimit-Reset-After": "1.000",
        "X-RateLimit-Bucket": "80c17d2f203122d936070c88c8d10f33",
    }
    await reply.send(json.dumps(answer).encode(), status=status, headers=limit)


async def _drip(reply: Reply) -> None:
    """Send an endless response, a byte a second."""
    await reply.start(media_type="application/json", headers={"Content-Length": "3600"})
    for _ in range(3600):
        await reply.write(b" ")
        await asyncio.sleep(1)


async def _respond(answer: Answer, reply: Reply) -> None:
    if answer.hang:
        await asyncio.sleep(3600)
    if answer.cut is None:
        await reply.send(
            answer.body,
            status=answer.status,
            media_type=answer.media_type,
            headers=answer.headers,
        )
        return
    length = {"Content-Length": str(len(answer.body))}
    await reply.start(status=answer.status, media_type=answer.media_type, headers=length)
    await reply.write(answer.body[: answer.cut])
    raise Cut


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
