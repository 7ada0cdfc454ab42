"""What the server refuses before Gradio sees a request, and what it adds to every answer.

Gradio switches on more routes than this page needs, parses bodies of any size, and answers to any
Host. So there is one list of what the page uses (everything else is not found), a limit on every
body, a check of Host and Origin, and the headers that keep a browser from loading or sending
anything elsewhere.
"""

import asyncio
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compare.store.errors import StoreError
from ui.server.boundary import UNREADABLE, place, sentence
from ui.uploads import MAX_FILE, Uploads
from ui.visitors import new_cookie, visitor_id

log = logging.getLogger(__name__)

GRADIO: Final = "/gradio_api"
UPLOAD: Final = f"{GRADIO}/upload"
_READ = re.compile(
    r"/|/config/?|/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/\d+)?|/theme\.css"
    r"|/(assets|static|svelte)/.+|/lineup/.+"
    rf"|{GRADIO}/(theme\.css|info/?|startup-events|heartbeat/\w+|queue/data|upload_progress)"
    rf"|{GRADIO}/file=.+"
)
"""The paths that the page gets. `file=` serves Gradio's own files, uploads and control maps."""
_WRITTEN = re.compile(
    rf"{GRADIO}/(run/predict|queue/join|upload|cancel|reset)/?"
    r"|/lineup/runs/[\w-]+/jobs/[\w-]+/picture"
)
"""The paths that the page posts to."""

MAX_JSON: Final = 1_000_000
"""The most bytes of a JSON body; the longest form has three texts of 40,000 characters."""
MAX_TEXT: Final = 40_000
"""The most characters of one value: no box of the page takes more."""
MAX_ITEMS: Final = 10_000
"""The most values in a JSON body; a form has about a hundred."""
MAX_SESSIONS: Final = 20_000
"""Sessions whose visitor is remembered."""
JSON_SECONDS: Final = 30.0
"""The most seconds in which a JSON body must arrive."""
_MULTIPART_OVERHEAD = 10_000


def content_security_policy(frames: str) -> str:
    """Return the policy; `frames` says which pages may show this one in a frame.

    Gradio's page needs inline scripts and `eval`, so the policy cannot keep a script from running;
    that is the business of escaping. It keeps any script from loading or sending anything
    elsewhere.
    """
    return (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'none'; "
        f"frame-ancestors {frames}"
    )


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """A request that is not answered: the status, and a sentence for the page."""

    status: int
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the app is reached.

    `hosts` are the host names that it answers to, in lower case; None stands for all. `frames` is
    the policy's list of the pages that may show the app in a frame.
    """

    hosts: frozenset[str] | None
    frames: str = "'self'"


LOCAL: Final = Address(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))
"""This machine alone."""


class Guard:
    """The ASGI middleware; `uploads` learns which visitor has uploaded what."""

    def __init__(self, app: ASGIApp, *, address: Address, uploads: Uploads) -> None:
        self._app = app
        self._address = address
        self._uploads = uploads
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._headers = {
            "Content-Security-Policy": content_security_policy(address.frames),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        send = self._with_headers(scope, headers, send)
        try:
            check_host(headers, self._address.hosts)
            check_origin(headers)
            check_path(scope)
            receive, session = await _checked_body(scope, headers, receive)
            self._check_session(session or _session_in_url(scope), visitor_id(headers))
        except Refusal as refusal:
            content = {"error": refusal.sentence, "detail": refusal.sentence}
            # The body is not read: the connection cannot be used again.
            closing = {"Connection": "close"} if scope["method"] == "POST" else {}
            await JSONResponse(content, refusal.status, closing)(scope, receive, send)
            return
        if scope["path"].rstrip("/") == UPLOAD:
            send = self._recording(visitor_id(headers), send)
        await self._answered(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an exception becomes a sentence, if nothing was answered yet."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            log.error("A request to %s failed: %s", scope["path"][:100], place(error))
            if not started:
                content = {"error": sentence(error), "detail": sentence(error)}
                status = 503 if isinstance(error, StoreError) else 422
                await JSONResponse(content, status)(scope, receive, send)

    def _check_session(self, session: str, visitor: str) -> None:
        """Raise `Refusal` for a session of Gradio that another visitor has begun.

        A session holds the form and the keys that were typed, and its name comes from the page.
        """
        if not session:
            return
        owner = self._sessions.setdefault(session, visitor)
        self._sessions.move_to_end(session)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        if owner != visitor:
            raise Refusal(403, "This visit was begun in another browser. Load the page again.")

    def _with_headers(self, scope: Scope, headers: Headers, send: Send) -> Send:
        fresh = scope["path"] == "/" and not visitor_id(headers)
        forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip()
        secure = "https" in (scope["scheme"], forwarded)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    answered[name] = value
                if fresh:
                    answered["Cache-Control"] = "no-store"
                    answered.append("Set-Cookie", new_cookie(secure=secure))
            await send(message)

        return with_headers

    def _recording(self, visitor: str, send: Send) -> Send:
        """Record the paths in the answer to an upload, a JSON list of at most some kilobytes."""
        body = bytearray()

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    self._uploads.record(visitor, _paths(bytes(body)))
            await send(message)

        return recording


def check_host(headers: Mapping[str, str], hosts: frozenset[str] | None) -> None:
    """Raise `Refusal` for a Host that is not ours.

    A page of another site can give its own name our address (DNS rebinding). A browser then takes
    both for one site, but still names the other's in Host.
    """
    if hosts is not None and _hostname(headers.get("host", "")) not in hosts:
        raise Refusal(
            403,
            "This Lineup answers only on this machine, at http://localhost. If it is served under "
            "another name, set LINEUP_HOSTS to that name.",
        )


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` for a request that a page of another site makes.

    Browsers name the page's site in `Sec-Fetch-Site` (where ours is HTTPS or loopback) and in
    `Origin`; neither can be set by a script. Programs send neither.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    navigated = headers.get("sec-fetch-mode") == "navigate" and origin is None
    foreign = site not in (None, "same-origin", "none") and not navigated
    if origin is not None and site is None:
        forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        foreign = urlsplit(origin).netloc not in {headers.get("host"), forwarded} - {""}
    if foreign:
        raise Refusal(403, "This request comes from a page of another site. Open Lineup itself.")


def check_path(scope: Scope) -> None:
    """Raise `Refusal` for what the page does not use."""
    path, method = scope["path"], scope["method"]
    used = _READ if method in ("GET", "HEAD") else _WRITTEN if method == "POST" else None
    # Gradio fetches the URL that follows `file=`, and loads the session that a deep link names.
    named = re.match(rf"{GRADIO}/file=\w+:/", path) or b"deep_link=" in scope["query_string"]
    if used is None or not used.fullmatch(path) or named:
        raise Refusal(404, "There is no such page here.")


async def _checked_body(
    scope: Scope, headers: Mapping[str, str], receive: Receive
) -> tuple[Receive, str]:
    """Return a `receive` whose body is within the limits, and the session that the body names.

    A body without a length is refused: browsers send one. So no byte of a body that is too large is
    read, and the server ends the connection of one that is longer than it says.
    """
    if scope["method"] != "POST":
        return receive, ""
    is_json = scope["path"].startswith(GRADIO) and scope["path"].rstrip("/") != UPLOAD
    most = MAX_JSON if is_json else MAX_FILE + _MULTIPART_OVERHEAD
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise Refusal(411, "The request does not say how long it is.")
    if int(length) > most:
        raise Refusal(413, f"That is more than {most / 1e6:.0f} MB, the most that is taken here.")
    if not is_json:
        return receive, ""
    body = await _read(receive)
    values = parse(body)
    check_values(values)
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body}

    return replay, str(values.get("session_hash") or "")


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(JSON_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        raise Refusal(408, "The request did not arrive in time. Try again.") from error


def parse(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a body; raise `Refusal` for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, UNREADABLE) from error
    if not isinstance(value, dict):
        raise Refusal(422, UNREADABLE)
    return value


def check_values(event: Mapping[str, Any]) -> None:
    """Raise `Refusal` for a value that no field of the page can hold.

    Gradio keeps the last value of every field in memory, even of a form that is refused.
    """
    values: list[Any] = [event]
    seen = 0
    while values:
        value = values.pop()
        seen += 1
        if seen > MAX_ITEMS:
            raise Refusal(413, f"The form holds more than {MAX_ITEMS:,} values.")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise Refusal(
                413,
                f"A field holds {len(value):,} characters; {MAX_TEXT:,} is the most. Shorten it.",
            )
        if isinstance(value, Mapping):
            _check_path_value(value)
            values += value.values()
        elif isinstance(value, Sequence) and not isinstance(value, str):
            values += value


def _check_path_value(value: Mapping[str, Any]) -> None:
    """Gradio fetches a file whose path is a URL; the page never names one."""
    path = value.get("path")
    if isinstance(path, str) and re.match(r"\s*\w+:/", path):
        raise Refusal(422, "Only a file that was uploaded here can be used.")


def _session_in_url(scope: Scope) -> str:
    """Return the session that a GET of Gradio's names, "" if it names none."""
    if beat := re.fullmatch(rf"{GRADIO}/heartbeat/(\w+)", scope["path"]):
        return beat[1]
    names = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
    return names[-1] if names else ""


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _paths(body: bytes) -> Iterable[str]:
    try:
        paths = json.loads(body)
    except ValueError:
        return ()
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else ()
