"""Execution in the fake ComfyUI server: its queue, nodes, cache, and messages to clients."""

import asyncio
import contextlib
import itertools
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers import pictures
from tests.servers.comfyui_graph import OUTPUTS, order, signature
from tests.servers.comfyui_script import Kind, Script

SAMPLER = "KSampler"


@dataclass(kw_only=True)
class Job:
    """One prompt on the server."""

    id: str
    number: int
    graph: Mapping[str, Mapping[str, Any]] = field(repr=False)
    client: str
    script: Script
    extra: Mapping[str, Any]
    targets: list[str] = field(default_factory=list[str])
    step: int = 0
    interrupted: bool = False
    done: bool = False
    node: str | None = None
    messages: list[Any] = field(default_factory=list[Any], repr=False)
    outputs: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def item(self) -> list[Any]:
        """The prompt as an entry of the queue."""
        extra = {**self.extra, "client_id": self.client, "create_time": 1_790_000_000_000}
        return [self.number, self.id, self.graph, extra, self.targets]


class Engine:
    """Runs prompts one after the other, even if no client listens.

    Outputs of nodes are cached, and not computed again while nothing changes that they depend on.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.jobs: list[Job] = []
        self.files: dict[str, bytes] = {}
        self.running: Job | None = None
        self.waiting: list[Job] = []
        self.history: dict[str, Any] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._cache: dict[str, Any] = {}
        self._next_number = itertools.count()
        self._work_available = asyncio.Condition()

    async def tell(self, client: str, kind: str, data: Mapping[str, Any]) -> None:
        socket = self.sockets.get(client)
        if socket is not None:
            with contextlib.suppress(ConnectionError):
                await socket.send_str(json.dumps({"type": kind, "data": data}))

    async def _send_image(self, client: str, picture: bytes) -> None:
        socket = self.sockets.get(client)
        if socket is not None:
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(struct.pack(">II", 1, 2) + picture)

    async def _send_status_to_all(self) -> None:
        for client in list(self.sockets):
            await self.tell(client, "status", self.status())

    def status(self) -> dict[str, Any]:
        remaining = len(self.waiting) + (self.running is not None)
        return {"status": {"exec_info": {"queue_remaining": remaining}}}

    def job(
        self, client: str, graph: Any, script: Script, extra: Mapping[str, Any], id: str
    ) -> Job:
        number = next(self._next_number)
        job = Job(id=id, number=number, graph=graph, client=client, script=script, extra=extra)
        job.targets = [id for id, node in graph.items() if node["class_type"] in OUTPUTS]
        return job

    async def queue(self, job: Job) -> None:
        async with self._work_available:
            self.jobs.append(job)
            self.waiting.append(job)
            self._work_available.notify()
        await self._send_status_to_all()

    async def work_on(self) -> None:
        while True:
            async with self._work_available:
                await self._work_available.wait_for(lambda: self.waiting)
                job = self.running = self.waiting.pop(0)
            await self._send_status_to_all()
            status = await self._execute(job)
            self.running, job.done = None, True
            if status is not None:
                final_status = {"status_str": status, "completed": status == "success"}
                self.history[job.id] = {
                    "prompt": job.item,
                    "outputs": job.outputs,
                    "status": {**final_status, "messages": job.messages},
                }
            await self._send_status_to_all()
            await self.tell(job.client, "executing", {"node": None, "prompt_id": job.id})

    async def _send_and_record(self, job: Job, kind: str, **data: Any) -> None:
        stamp = {"timestamp": int(time.time() * 1000)} if self.kind.stamps else {}
        message_data = {"prompt_id": job.id, **data, **stamp}
        job.messages.append([kind, message_data])
        await self.tell(job.client, kind, message_data)

    async def _execute(self, job: Job) -> str | None:
        """Run the nodes; return the prompt's status, None if the prompt is forgotten."""
        await self._send_and_record(job, "execution_start")
        nodes = order(job.graph, job.targets) or list(job.graph)
        keys = {id: signature(job.graph, id) for id in nodes}
        cached = [id for id in nodes if keys[id] in self._cache]
        await self._send_and_record(job, "execution_cached", nodes=cached)
        for id in nodes:
            node_data = {"node": id, "display_node": id, "prompt_id": job.id}
            if id not in cached:
                job.node = id
                await self.tell(job.client, "executing", node_data)
                if job.graph[id]["class_type"] == SAMPLER and not await self._sample(job, id):
                    return "error" if job.interrupted else None
                if job.script.fault is not None and job.graph[id]["class_type"] == SAMPLER:
                    await self._send_and_record(
                        job, "execution_error", **_error_data(job, id, job.script.fault)
                    )
                    return "error"
                output = await self._output(job, id)
                if job.graph[id]["class_type"] != "SaveImageWebsocket":
                    self._cache[keys[id]] = output
            output = self._cache.get(keys[id])
            if output is not None:
                job.outputs[id] = output
                await self.tell(job.client, "executed", {**node_data, "output": output})
        await self._send_and_record(job, "execution_success")
        return "success"

    async def _sample(self, job: Job, id: str) -> bool:
        """Sample step by step; return False if it was interrupted or forgotten."""
        steps = int(job.graph[id]["inputs"].get("steps", 20))
        job.step = 0
        while job.step < steps and not job.interrupted:
            await asyncio.sleep(job.script.delay / steps)
            job.step += 1
            state = {"value": job.step, "max": steps, "prompt_id": job.id, "node": id}
            nodes = {id: {**state, "state": "running", "node_id": id}}
            await self.tell(job.client, "progress_state", {"prompt_id": job.id, "nodes": nodes})
            if not self.kind.states_only:
                await self.tell(job.client, "progress", state)
            if job.extra.get("preview_method") == "auto":
                colour = bytes((job.step % 256, 0, 0))
                await self._send_image(job.client, pictures.plain(32, 32, colour))
            if job.step == job.script.drop and (socket := self.sockets.pop(job.client, None)):
                await socket.close()
            if job.step == job.script.leave:
                return False
        if job.interrupted:
            await self._send_and_record(job, "execution_interrupted", node_id=id, node_type=SAMPLER)
        return not job.interrupted

    async def _output(self, job: Job, id: str) -> Any:
        node = job.graph[id]
        if node["class_type"] == "ShowText":
            return {"text": ["shown"]}
        if node["class_type"] not in OUTPUTS:
            return None
        drawn = job.script.picture
        size = _find_inputs(job.graph, "EmptyLatentImage") or {
            "width": 64,
            "height": 64,
            "batch_size": 1,
        }
        images: list[dict[str, str]] = []
        for number in range(int(size["batch_size"])):
            colour = bytes((40, len(self.files) % 256, 10 * number))
            data = pictures.plain(size["width"], size["height"], colour) if drawn is None else drawn
            if node["class_type"] == "SaveImageWebsocket":
                await self._send_image(job.client, data)
                continue
            kind = "temp" if node["class_type"] == "PreviewImage" else "output"
            name = f"{node['inputs'].get('filename_prefix', 'shown')}_{len(self.files):05}_.png"
            image = {"filename": name, "subfolder": "", "type": kind}
            self.files[file_of(image)] = data
            images.append({"type": kind} if job.script.nameless else image)
        return {"images": images}


def file_of(query: Mapping[str, str]) -> str:
    return "/".join(query.get(key, "") for key in ("type", "subfolder", "filename"))


def _find_inputs(graph: Mapping[str, Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((node["inputs"] for node in graph.values() if node["class_type"] == kind), None)


def _error_data(job: Job, id: str, fault: Mapping[str, Any]) -> dict[str, Any]:
    return {"node_id": id, "node_type": job.graph[id]["class_type"], "executed": [], **fault}
