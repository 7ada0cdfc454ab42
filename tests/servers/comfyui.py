"""A fake ComfyUI server, as its documentation describes the API: HTTP, and a websocket.

Prompts run one after the other, even if no client listens; outputs of nodes are cached, and not
computed again while nothing changes that they depend on.

    python -m tests.servers.comfyui --port 8188 --delay 3
"""

import argparse
import asyncio
import base64
import json
import signal
import threading
import uuid
from collections.abc import Mapping
from typing import Any, Self

from aiohttp import web

from tests.servers.comfyui_engine import SAMPLER, Engine, Job, file_of
from tests.servers.comfyui_graph import check, info
from tests.servers.comfyui_script import Kind, Script
from tests.servers.exchange import Received


class ComfyUIServer(Engine):
    """Serves the API; `usual` is the script of every prompt. Use it as a context manager.

    `authorization` is the required header, None without one. `deaf` refuses every websocket.
    `views` are the scripts of the next requests for a saved picture, `odd` those of every GET whose
    path begins so.
    """

    def __init__(
        self,
        usual: Script | None = None,
        kind: Kind | None = None,
        *,
        authorization: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(kind or Kind())
        self.usual = usual or Script()
        self.authorization = authorization
        self.everything: Script | None = None
        self.port = port
        self.deaf = False
        self.views: list[Script] = []
        self.odd: dict[str, Script] = {}
        self.requests: list[Received] = []
        self.uploads: dict[str, bytes] = {}
        self.opened = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Received]:
        """Return the requests to one path."""
        return [each for each in self.requests if each.path.partition("?")[0] == path]

    def put(self, seconds: float) -> Job:
        """Queue a prompt of another client; call it from another thread."""
        seed = len(self.jobs)  # else the cache would have it
        graph = {"1": {"class_type": SAMPLER, "inputs": {"steps": 20, "seed": seed}}}
        job = self.job("another", graph, Script(delay=seconds), {}, str(uuid.uuid4()))
        asyncio.run_coroutine_threadsafe(self.queue(job), self._loop).result(5)
        return job

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=128)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        working = asyncio.create_task(self.work_on())
        await self._stop.wait()
        working.cancel()
        for socket in list(self.sockets.values()):
            await socket.close()
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # HTTP

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            number=len(self.requests) + 1,
            method=request.method,
            path=request.path_qs,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=b"" if "multipart" in request.content_type else await request.read(),
        )
        self.requests.append(received)
        if self.authorization not in (None, request.headers.get("Authorization")):
            return web.Response(status=401, text="Unauthorized")
        if self.everything is not None:
            return await _respond(self.everything, request, b"")
        for prefix, script in self.odd.items():
            if request.method == "GET" and request.path.startswith(prefix):
                return await _respond(script, request, b"")
        path = request.path.removeprefix("/api")  # every route has this name as well
        match request.method, path.strip("/").split("/"):
            case "GET", ["ws"] if self.kind.sockets and not self.deaf:
                return await self._websocket(request)
            case "POST", ["prompt"]:
                return await self._prompt(request, received.json)
            case "POST", ["upload", "image"]:
                return await self._upload(request)
            case "POST", ["interrupt"]:
                return self._interrupt(received.json)
            case "POST", ["queue"]:
                for id in received.json.get("delete", ()):
                    self.waiting = [job for job in self.waiting if job.id != id]
                return web.Response()
            case "GET", ["queue"]:
                running = [self.running.item] if self.running else []
                waiting = [job.item for job in reversed(self.waiting)]  # a heap has no order
                return web.json_response({"queue_running": running, "queue_pending": waiting})
            case "GET", ["history", id]:
                return web.json_response({id: self.history[id]} if id in self.history else {})
            case "GET", ["models", folder] if self.kind.lists:
                known = {
                    "checkpoints": self.kind.checkpoints,
                    "controlnet": self.kind.networks,
                    "loras": self.kind.loras,
                }
                return web.json_response(list(known.get(folder, ())))
            case "GET", ["system_stats"]:
                return web.json_response({"system": {"comfyui_version": "0.3.64"}, "devices": []})
            case "GET", ["object_info", node]:
                return web.json_response(info(self.kind, node))
            case "GET", ["view"] if self.views:
                return await _respond(self.views.pop(0), request, b"")
            case "GET", ["view"] if (name := file_of(request.query)) in self.files:
                return web.Response(body=self.files[name], content_type="image/png")
            case _:
                return web.Response(status=404, text="404: Not Found")

    async def _prompt(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        script = self.usual
        if script.answers:
            return await _respond(script, request, b"")
        id = body.get("prompt_id") if self.kind.ids else None
        if id is not None and str(uuid.UUID(id)) != id:
            raise web.HTTPBadRequest(text="prompt_id must be a valid UUID")
        wrong, targets, node_errors = check(body["prompt"], self.kind, self.uploads)
        if wrong is not None:
            return web.json_response({"error": wrong, "node_errors": node_errors}, status=400)
        job = self.job(
            body["client_id"],
            body["prompt"],
            script,
            body.get("extra_data", {}),
            id or str(uuid.uuid4()),
        )
        job.targets = targets
        await self.queue(job)
        answer = {"prompt_id": job.id, "number": job.number, "node_errors": node_errors}
        return await _respond(script, request, json.dumps(answer).encode())

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        self.uploads[image.filename] = image.file.read()
        return web.json_response({"name": image.filename, "subfolder": "", "type": "input"})

    def _interrupt(self, body: Mapping[str, Any]) -> web.Response:
        job = self.running
        if job is not None and (not self.kind.targeted or body.get("prompt_id") in (None, job.id)):
            job.interrupted = True
        return web.Response()

    # The websocket

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self.sockets[client] = socket
        self.opened += 1
        await self.tell(client, "status", {**self.status(), "sid": client})
        job = self.running
        if job is not None and job.client == client and job.node is not None:
            await self.tell(client, "executing", {"node": job.node})
        async for _ in socket:
            pass
        self.sockets.pop(client, None)  # a newer one as well: so does the server
        return socket


async def _respond(script: Script, request: web.Request, answer: bytes) -> web.StreamResponse:
    """Respond as the script says, which may be a regular response."""
    if script.hang:
        await asyncio.sleep(3600)
    body = answer if script.raw is None else script.raw
    headers = {**script.headers, "Content-Type": script.media_type}
    if script.cut is None and not script.drip:
        return web.Response(status=script.status or 200, body=body, headers=headers)
    response = web.StreamResponse(
        status=script.status or 200, headers={**headers, "Content-Length": str(len(body))}
    )
    await response.prepare(request)
    if script.cut is not None:
        await response.write(body[: script.cut])
        await asyncio.sleep(0.05)  # what was written reaches the client first
        if request.transport is not None:
            request.transport.abort()
        return response
    for byte in body:
        await response.write(bytes((byte,)))
        await asyncio.sleep(script.drip)
    return response


def basic(user: str, password: str) -> str:
    """Return the header for a user and password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def failing(status: int, **headers: str) -> Script:
    """Return a script in which a proxy in front of the server responds."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Script(status=status, raw=b"", headers=named)


def main() -> None:
    """Serve until the process is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--delay", type=float, default=3.0)
    parsed = parser.parse_args()
    with ComfyUIServer(Script(delay=parsed.delay), port=parsed.port) as server:
        print(server.origin, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
