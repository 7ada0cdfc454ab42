"""A fake AUTOMATIC1111 server, as its documentation and source describe the API.

Jobs run one after the other in the server's queue, even if their client has disconnected. `POST
/internal/progress` reports one task, `GET /sdapi/v1/progress` whichever is running.

    python -m tests.servers.a1111 --port 7861 --delay 3
"""

import argparse
import asyncio
import base64
import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import pictures
from tests.servers.a1111_script import Kind, Script
from tests.servers.exchange import Cut, Received, Reply
from tests.servers.http import Server

STEPS = 20
GENERATE = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")


@dataclass(kw_only=True)
class Job:
    """One generation on the server."""

    task: str
    body: Mapping[str, Any] = field(repr=False)
    step: int = 0
    interrupted: bool = False
    done: bool = False

    @property
    def steps(self) -> int:
        """The steps of all its pictures; with an initial image a share of them, and one more."""
        steps = int(self.body.get("steps", STEPS))
        if self.body.get("init_images"):
            steps = int(min(float(self.body["denoising_strength"]), 0.999) * steps) + 1
        return steps * int(self.body.get("n_iter", 1))


class A1111Server(Server):
    """Serves the API; `usual` is the script of every generation."""

    def __init__(
        self,
        usual: Script | None = None,
        kind: Kind | None = None,
        *,
        auth: tuple[str, str] | None = None,
        port: int = 0,
        log: Path | None = None,
    ):
        super().__init__(port=port, log=log)
        self.usual = usual or Script()
        self.kind = kind or Kind()
        self.auth = auth
        self.checkpoint = self.kind.checkpoints[0]
        self.everything: Script | None = None
        self.jobs: list[Job] = []
        self._running: Job | None = None
        self._job_count = 0
        self._execution_lock = asyncio.Lock()

    @property
    def generations(self) -> list[Received]:
        """The requests that start a generation."""
        return [received for received in self.requests if received.path in GENERATE]

    @property
    def interrupts(self) -> int:
        """The number of interrupt requests."""
        return sum(received.path == "/sdapi/v1/interrupt" for received in self.requests)

    async def occupy(self, task: str, seconds: float) -> None:
        """Run a job of another client; call it in the server's loop (`in_loop`)."""
        await self._draw(Job(task=task, body={}), Script(delay=seconds))

    def in_loop(self, task: str, seconds: float) -> None:
        """Start a job of another client from another thread, and wait until it runs."""
        asyncio.run_coroutine_threadsafe(self.occupy(task, seconds), self._loop)
        deadline = time.monotonic() + 20
        while self._running is None and time.monotonic() < deadline:
            time.sleep(0.01)

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        path = received.path.partition("?")[0]
        if self.auth is not None and not self._is_authorized(received):
            await _send_json(reply, {"detail": "Incorrect username or password"}, status=401)
        elif self.everything is not None:
            await self._respond(self.everything, reply)
        elif received.method == "POST" and path in GENERATE:
            await self._generate(received.json, reply)
        elif (received.method, path) == ("POST", "/internal/progress") and self.kind.route:
            await _send_json(reply, self._task_state(received.json))
        elif (received.method, path) == ("POST", "/sdapi/v1/interrupt"):
            if self._running is not None:
                self._running.interrupted = True
            await _send_json(reply, {})
        else:
            answer = self._lookup(path) if received.method == "GET" else None
            found = answer is not None
            await _send_json(
                reply, answer if found else {"detail": "Not Found"}, 200 if found else 404
            )

    def _is_authorized(self, received: Received) -> bool:
        expected = base64.b64encode(":".join(self.auth or ()).encode()).decode()
        return received.headers.get("authorization") == f"Basic {expected}"

    def _lookup(self, path: str) -> Any | None:
        kind = self.kind
        match path:
            case "/sdapi/v1/sd-models":
                return [_checkpoint(name) for name in kind.checkpoints]
            case "/sdapi/v1/samplers":
                return [{"name": name, "aliases": [], "options": {}} for name in kind.samplers]
            case "/sdapi/v1/schedulers" if kind.schedules:
                return [
                    {"name": "automatic", "label": "Automatic", "aliases": None},
                    {"name": "karras", "label": "Karras", "aliases": None},
                    {"name": "sgm_uniform", "label": "SGM Uniform", "aliases": ["SGMUniform"]},
                ]
            case "/sdapi/v1/options":
                return {"sd_model_checkpoint": _checkpoint(self.checkpoint)["title"]}
            case "/sdapi/v1/progress":
                return self._global_state()
            case "/controlnet/model_list" if kind.modules is not None:
                return {"model_list": list(kind.networks)}
            case "/controlnet/settings" if kind.modules is not None and kind.units is not None:
                return {"control_net_unit_count": kind.units}
            case "/controlnet/module_list" if kind.modules is not None:
                return {"module_list": list(kind.modules)}
            case _:
                return None

    def _task_state(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        nothing = {"active": False, "queued": False, "completed": False, "id_live_preview": -1}
        job = next((job for job in self.jobs if job.task == asked.get("id_task")), None)
        if job is None or not self.kind.tasks:
            return nothing
        active = job is self._running
        waits = not active and not job.done
        answer = nothing | {"active": active, "queued": waits, "completed": job.done}
        if active:
            looked = asked.get("id_live_preview") == job.step or job.step == 0
            answer |= {
                "progress": job.step / job.steps,
                "id_live_preview": job.step,
                "live_preview": None
                if looked
                else f"data:image/png;base64,{_encoded_preview(job)}",
            }
        return answer

    def _global_state(self) -> dict[str, Any]:
        job = self._running
        state: dict[str, Any] = {
            "job": "scripts_txt2img" if job else "",
            "job_count": int(job.body.get("n_iter", 1)) if job else 0,
            "job_no": 0,
            "job_timestamp": f"2026112500{self._job_count:04}" if self._job_count else "0",
            "sampling_step": job.step if job else 0,
            "sampling_steps": int(job.body.get("steps", STEPS)) if job else 0,
        }
        look = _encoded_preview(job) if job is not None and job.step else None
        progress = job.step / job.steps if job else 0
        return {"progress": progress, "state": state, "current_image": look}

    async def _generate(self, body: Mapping[str, Any], reply: Reply) -> None:
        script = self.usual
        if script.status is not None or script.raw is not None:
            await self._respond(script, reply)
            return
        started = time.monotonic()
        if body.get("sampler_name", self.kind.samplers[0]) not in self.kind.samplers:
            await _send_json(reply, {"error": "HTTPException", "detail": "Sampler not found"}, 404)
            return
        job = Job(task=body.get("force_task_id", ""), body=body)
        # The caller may go away; the job does not.
        drawing = asyncio.ensure_future(self._draw(job, script))
        await asyncio.shield(drawing)
        answer = json.dumps(self._response_body(job, script)).encode()
        took = script.time or str(round(time.monotonic() - started, 4))
        await _send_scripted(answer, script, reply, {"X-Process-Time": took})

    async def _draw(self, job: Job, script: Script) -> None:
        self.jobs.append(job)
        async with self._execution_lock:
            self._running = job
            self._job_count += 1
            while job.step < job.steps and not job.interrupted:
                await asyncio.sleep(3600 if script.hang else script.delay / job.steps)
                job.step += 1
            self._running = None
            job.done = True

    def _response_body(self, job: Job, script: Script) -> dict[str, Any]:
        body = job.body
        size, count = (body["width"], body["height"]), body["n_iter"] * body["batch_size"]
        seed = 4242 if body["seed"] == -1 else body["seed"]
        drawn = [pictures.plain(*size, bytes((40, 80, 10 * i))) for i in range(count)]
        if script.pictures is not None:
            drawn = list(script.pictures)
        sent = drawn[: len(drawn) - script.fewer]
        sent = [*([pictures.plain(size[0] * 2, size[1])] if script.grid else []), *sent]
        sent += [pictures.plain(32, 32)] * script.maps
        override = body.get("override_settings", {}).get("sd_model_checkpoint")
        info: dict[str, Any] = {
            "seed": seed,
            "all_seeds": [seed + i for i in range(count)],
            "index_of_first_image": int(script.grid),
            "sampler_name": body.get("sampler_name", self.kind.samplers[0]),
            "width": size[0],
            "height": size[1],
        }
        if self.kind.names_model:
            file = override.partition(" ")[0] if override else self.checkpoint
            info["sd_model_name"] = file.rpartition("/")[2].removesuffix(".safetensors")
        text = "" if script.info is None else json.dumps({**info, **script.info})
        encoded = [base64.b64encode(each).decode() for each in sent]
        return {"images": encoded, "parameters": dict(body), "info": text}

    async def _respond(self, script: Script, reply: Reply) -> None:
        if script.hang:
            await asyncio.sleep(3600)
        await _send_scripted(script.raw or b"", script, reply, {})


async def _send_scripted(
    answer: bytes, script: Script, reply: Reply, headers: Mapping[str, str]
) -> None:
    length = {"Content-Length": str(len(answer))}
    await reply.start(
        status=script.status or 200,
        media_type=script.media_type,
        headers={**length, **headers, **script.headers},
    )
    if script.cut is not None:
        await reply.write(answer[: script.cut])
        raise Cut
    if not script.drip:
        await reply.write(answer)
        return
    for byte in answer:
        await reply.write(bytes((byte,)))
        await asyncio.sleep(script.drip)


async def _send_json(reply: Reply, answer: Any, status: int = 200) -> None:
    await reply.send(json.dumps(answer).encode(), status=status)


def _checkpoint(name: str) -> dict[str, Any]:
    file = f"{name}.safetensors"
    return {
        "title": f"{file} [6ce0161689]",
        "model_name": name.replace("/", "_"),
        "hash": "6ce0161689",
        "sha256": None,
        "filename": f"/srv/webui/models/Stable-diffusion/{file}",
        "config": None,
    }


def _encoded_preview(job: Job) -> str:
    return base64.b64encode(pictures.plain(64, 64, bytes((job.step % 256, 0, 0)))).decode()


def failing(status: int, detail: str = "", **more: Any) -> Script:
    """Return a script that answers with the API's error object."""
    headers = more.pop("headers", {})
    body = {"error": "HTTPException", "detail": detail, "body": "", "errors": "", **more}
    return Script(status=status, raw=json.dumps(body).encode(), headers=headers)


def main() -> None:
    """Serve until the process is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7861)
    parser.add_argument("--delay", type=float, default=3.0)
    parsed = parser.parse_args()
    with A1111Server(Script(delay=parsed.delay), port=parsed.port) as server:
        print(server.origin, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
