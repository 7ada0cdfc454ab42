"""A fake AUTOMATIC1111 server, as its documentation and source describe the API.

Jobs run one after the other in the server's queue, even if their client has disconnected. `POST
/internal/progress` reports one task, `GET /sdapi/v1/progress` whichever is running. On SD.Next
every phase of a job is one of its own there, and an interruption is forgotten when the next begins.

https://github.com/AUTOMATIC1111/stable-diffusion-webui (modules/api/api.py, progress.py,
shared_state.py), https://github.com/lllyasviel/stable-diffusion-webui-forge (the same),
https://github.com/vladmandic/sdnext (modules/api/server.py, shared_state.py, processing.py)

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
PAUSE = 0.02
"""Seconds between two phases on SD.Next, where it names no job."""
PHASES = ("API-TXT", "Load", "Process", "VAE")
"""Phases in which SD.Next only notes an interruption, to forget it when the next one begins."""
HASHES = {"sd_xl_base_1.0": "31e35c80fc", "anime/dreamy_v2": "879db523c3"}
HASH = "6ce0161689"
GENERATE = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
POST_ONLY = (*GENERATE, "/sdapi/v1/interrupt", "/sdapi/v1/png-info")


@dataclass(kw_only=True)
class State:
    """The global state, `modules/shared_state.py`."""

    job: str = ""
    job_count: int = 0
    job_no: int = 0
    begun: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0
    interrupted: bool = False
    skipped: bool = False

    def begin(self, job: str, job_count: int, sampling_steps: int = 0) -> None:
        """Begin a job or a phase, which forgets an interruption."""
        self.job, self.job_count, self.job_no = job, job_count, 0
        self.sampling_step, self.sampling_steps = 0, sampling_steps
        self.interrupted = self.skipped = False
        self.begun += 1

    def end(self) -> None:
        """End it; an interruption is kept until the next one begins."""
        self.job, self.job_count = "", 0


@dataclass(kw_only=True)
class Job:
    """One generation on the server; `step` counts all its steps, `drawn` its pictures."""

    task: str
    body: Mapping[str, Any] = field(repr=False)
    step: int = 0
    drawn: int = 0
    interrupted: bool = False
    done: bool = False

    @property
    def count(self) -> int:
        """The number of its pictures."""
        return int(self.body.get("n_iter", 1))

    @property
    def steps_per_picture(self) -> int:
        """The steps of a picture; with an initial image a share of them, and one more."""
        steps = int(self.body.get("steps", STEPS))
        if self.body.get("init_images"):
            steps = int(min(float(self.body["denoising_strength"]), 0.999) * steps) + 1
        return steps

    @property
    def steps(self) -> int:
        """The steps of all its pictures."""
        return self.steps_per_picture * self.count


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
        self.listed_loras = self.kind.loras
        self.state = State()
        self._running: Job | None = None
        self._execution_lock = asyncio.Lock()

    @property
    def generations(self) -> list[Received]:
        """The requests that start a generation."""
        return [
            received
            for received in self.requests
            if received.method == "POST" and received.path in GENERATE
        ]

    @property
    def interrupts(self) -> int:
        """The number of interrupt requests."""
        return sum(received.path == "/sdapi/v1/interrupt" for received in self.requests)

    async def occupy(self, task: str, seconds: float) -> None:
        """Run a job of another client; call it in the server's loop (`in_loop`)."""
        await self._draw(Job(task=task, body={}), Script(delay=seconds))

    def interrupt_from_elsewhere(self) -> None:
        """Interrupt the running job, as another client does."""
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self.state.interrupted = True
        if self._running is not None and self.state.job not in PHASES:
            self._running.interrupted = True

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
        elif path in self.kind.broken:
            await self._respond(self.kind.broken[path], reply)
        elif received.method == "POST" and path in GENERATE:
            await self._generate(received.json, reply)
        elif (received.method, path) == ("POST", "/internal/progress") and self.kind.route:
            await _send_json(reply, self._task_state(received.json))
        elif (received.method, path) == ("POST", "/sdapi/v1/interrupt"):
            self._interrupt()
            await _send_json(reply, {})
        elif (received.method, path) == ("POST", "/sdapi/v1/refresh-loras"):
            self.listed_loras = self.kind.loras
            await _send_json(reply, None)
        elif received.method == "GET" and path in POST_ONLY:
            await _send_json(reply, {"detail": "Method Not Allowed"}, 405)
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
                units = {"control_net_unit_count": kind.settings_units}
                title = _checkpoint(self.checkpoint)["title"]
                return {"sd_model_checkpoint": title} | (units if kind.settings_units else {})
            case "/sdapi/v1/loras" if self.listed_loras is not None:
                return [_lora(name) for name in self.listed_loras]
            case "/sdapi/v1/hypernetworks" if kind.hypernetworks is not None:
                return [{"name": name, "path": f"/srv/{name}.pt"} for name in kind.hypernetworks]
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
        job, state = self._running, self.state
        reported: dict[str, Any] = {
            "skipped": state.skipped,
            "interrupted": state.interrupted,
            "job": state.job,
            "job_count": state.job_count,
            "job_timestamp": f"2026112500{state.begun:04}" if state.begun else "0",
            "job_no": state.job_no,
            "sampling_step": state.sampling_step,
            "sampling_steps": state.sampling_steps,
        }
        if not self.kind.phases:
            reported["stopping_generation"] = False
        idle: dict[str, Any] = {"progress": 0, "eta_relative": 0, "state": reported}
        if job is None or not state.job_count:
            return idle
        look = _encoded_preview(job) if job.step else None
        return idle | {"progress": job.step / job.steps, "current_image": look}

    async def _generate(self, body: Mapping[str, Any], reply: Reply) -> None:
        script = self.usual
        if script.status is not None or script.raw is not None:
            await self._respond(script, reply)
            return
        started = time.monotonic()
        if body.get("sampler_name", self.kind.samplers[0]) not in self.kind.samplers:
            await _send_json(reply, {"error": "HTTPException", "detail": "Sampler not found"}, 400)
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
            await (self._draw_in_phases if self.kind.phases else self._draw_as_one)(job, script)
            self._running = None
            job.done = True

    async def _draw_as_one(self, job: Job, script: Script) -> None:
        self.state.begin("scripts_txt2img", job.count, job.steps_per_picture)
        while job.drawn < job.count and not self.state.interrupted:
            await self._sample(job, script)
            self.state.job_no, self.state.sampling_step = self.state.job_no + 1, 0
            job.drawn += 1
        self.state.end()

    async def _draw_in_phases(self, job: Job, script: Script) -> None:
        for phase in PHASES[:3]:
            await self._phase(phase, script.delay / 8)
        while job.drawn < job.count and not self.state.interrupted:
            self.state.begin("Inference", 2, job.steps_per_picture)
            await self._sample(job, script)
            self.state.end()
            await asyncio.sleep(PAUSE)
            if not self.state.interrupted:
                await self._phase(PHASES[3], script.delay / 8)
                job.drawn += 1
        self.state.end()

    async def _phase(self, name: str, seconds: float) -> None:
        self.state.begin(name, 1)
        await asyncio.sleep(min(seconds, 0.2))
        self.state.end()
        await asyncio.sleep(PAUSE)

    async def _sample(self, job: Job, script: Script) -> None:
        for _ in range(job.steps_per_picture):
            if self.state.interrupted:
                break
            await asyncio.sleep(3600 if script.hang else script.delay / job.steps)
            job.step += 1
            self.state.sampling_step += 1

    def _response_body(self, job: Job, script: Script) -> dict[str, Any]:
        body = job.body
        size, count = (body["width"], body["height"]), body["n_iter"] * body["batch_size"]
        seed = 4242 if body["seed"] == -1 else body["seed"]
        drawn = [pictures.plain(*size, bytes((40, 80, 10 * i))) for i in range(count)]
        if script.pictures is not None:
            drawn = list(script.pictures)
        sent = drawn[: len(drawn) - script.fewer]
        if job.interrupted:
            sent = sent[: job.drawn]
        described = [self._infotext(body, seed + number) for number in range(len(sent))]
        if script.grid:
            sent, described = [pictures.plain(size[0] * 2, size[1]), *sent], [*described, "grid"]
            described = [described[-1], *described[:-1]]
        sent += [pictures.plain(32, 32)] * script.maps
        info: dict[str, Any] = {
            "seed": seed,
            "all_seeds": [seed + i for i in range(count)],
            "index_of_first_image": int(script.grid),
            "sampler_name": body.get("sampler_name", self.kind.samplers[0]),
            "width": size[0],
            "height": size[1],
        }
        if self.kind.names_model:
            info["sd_model_name"] = self._used_checkpoint(body).rpartition("/")[2]
        if self.kind.infotexts:
            info["infotexts"] = described
        text = "" if script.info is None else json.dumps({**info, **script.info})
        encoded = [base64.b64encode(each).decode() for each in sent]
        # The request as the server has read it, without the fields that it does not know.
        unknown = set() if self.kind.schedules else {"scheduler", "force_task_id"}
        parameters = {name: body[name] for name in body.keys() - unknown}
        return {"images": encoded, "parameters": parameters, "info": text}

    def _used_checkpoint(self, body: Mapping[str, Any]) -> str:
        """The checkpoint that draws: the loaded one if the requested one is not known."""
        wanted = body.get("override_settings", {}).get("sd_model_checkpoint")
        known = {_checkpoint(name)["title"]: name for name in self.kind.checkpoints}
        return known.get(wanted, self.checkpoint)

    def _infotext(self, body: Mapping[str, Any], seed: int) -> str:
        """The description of a picture: create_infotext in modules/processing.py."""
        parts = {
            "Steps": body.get("steps", STEPS),
            "Sampler": body.get("sampler_name", self.kind.samplers[0]),
            "Schedule type": body.get("scheduler", "Automatic"),
            "CFG scale": body.get("cfg_scale", 7),
            "Seed": seed,
            "Size": f"{body['width']}x{body['height']}",
            "Model hash": HASHES.get(self._used_checkpoint(body), HASH),
            "Model": self._used_checkpoint(body).rpartition("/")[2],
        }
        if not self.kind.schedules:
            del parts["Schedule type"]
        units = body.get("alwayson_scripts", {}).get("controlnet", {}).get("args", [])
        for number, unit in enumerate(units[: self.kind.units or self.kind.settings_units or 3]):
            described = f"Module: {unit['module']}, Model: {unit['model']}"
            parts[f"ControlNet {number}"] = f'"{described}, Weight: {unit["weight"]}"'
        line = ", ".join(f"{name}: {value}" for name, value in parts.items())
        return f"{body['prompt']}\nNegative prompt: {body['negative_prompt']}\n{line}"

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
        "title": f"{file} [{HASHES.get(name, HASH)}]",
        "model_name": name.replace("/", "_"),
        "hash": HASHES.get(name, HASH),
        "sha256": None,
        "filename": f"/srv/webui/models/Stable-diffusion/{file}",
        "config": None,
    }


def _lora(name: str) -> dict[str, Any]:
    """A row of the list of LoRAs; its name is the file's without folder and extension."""
    bare = name.rpartition("/")[2]
    return {"name": bare, "alias": bare, "path": f"/srv/{name}.safetensors", "metadata": {}}


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
