"""A fake of the Hub's list of a model's providers, and of the router with its seven providers.

`GET /api/models/<id>` lists providers; `POST /<provider>/...` draws in that provider's format, as
its documentation describes it. Some providers have to be polled, among them Fal where its queue is
requested (`_subdomain=queue`). A `Script` says what happens to a job: queued for the next one, or
`usual`.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.servers import pictures
from tests.servers.exchange import Cut, Received, Reply
from tests.servers.http import Server

PROVIDERS = ("fal-ai", "hf-inference", "nscale", "replicate", "together", "wavespeed", "zai-org")


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to one job; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after that many bytes of the response, `drip` sends one byte and
    pauses. `looks` are the responses to polls before the picture is ready: True for "not yet", a
    number for that status. `result` is the status with which Fal's queue returns the result of a
    job; other than 200 it comes with `error`. `withheld` marks the picture as unfit (Fal),
    `sketch` is a picture that is shown before the end (Replicate), `given_up` is the reason for
    which a started job ends without a picture (Replicate, WaveSpeed, Z.ai). `waiting` is what a
    provider calls the state of a job that is not finished.
    """

    delay: float = 0.0
    picture: bytes = field(default_factory=pictures.plain, repr=False)
    picture_status: int = 200
    hang: bool = False
    status: int | None = None
    error: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    media_type: str = "application/json"
    cut: int | None = None
    drip: float = 0.0
    looks: tuple[bool | int, ...] = ()
    result: int = 200
    withheld: bool = False
    given_up: str | None = None
    waiting: str | None = None
    sketch: bytes | None = field(default=None, repr=False)


class HuggingFaceServer(Server):
    """Serves the Hub, the router and the providers; `serving` is what the Hub lists."""

    def __init__(self, usual: Script | None = None) -> None:
        super().__init__()
        self.usual = usual or Script()
        self.queue: deque[Script] = deque()
        self.serving: dict[str, dict[str, str]] = {
            provider: {"providerId": "maker/model", "status": "live", "task": "text-to-image"}
            for provider in PROVIDERS
        }
        self.hub = Script()
        self.who = Script()
        self._jobs: list[Script] = []
        self._poll_counts: dict[int, int] = {}

    @property
    def generations(self) -> list[Received]:
        """The requests that a real service would bill."""
        return [received for received in self.requests if received.method == "POST"]

    async def handle(self, received: Received, reply: Reply) -> None:
        """Respond to one request."""
        path = received.path.partition("?")[0]
        match received.method, path.strip("/").split("/"):
            case "GET", ["api", "whoami-v2"]:
                await _send_scripted(
                    self.who, json.dumps({"type": "user", "name": "ada"}).encode(), reply
                )
            case "GET", ["api", "models", "old-name", name]:
                moved = {"Location": f"/api/models/maker/{name}"}
                await reply.send(b"", status=307, headers=moved)
            case "GET", ["api", "models", *model]:
                answer = {"id": "/".join(model), "inferenceProviderMapping": self.serving}
                await _send_scripted(self.hub, json.dumps(answer).encode(), reply)
            case "GET", ["sketch", number]:
                await reply.send(self._jobs[int(number)].sketch or b"", media_type="image/png")
            case "GET", ["picture", number]:
                job = self._jobs[int(number)]
                await reply.send(job.picture, status=job.picture_status, media_type="image/png")
            case "GET", ["wavespeed" | "zai-org" | "replicate" as provider, *_, "job", number]:
                await self._poll(provider, int(number), reply)
            case "POST", [provider, *_] if provider in PROVIDERS:
                await self._draw(provider, reply, queue="_subdomain=queue" in received.path)
            case "GET", ["fal-ai", "maker", "model", "requests", number]:
                job = self._jobs[int(number)]
                # fal.ai/docs/inference-api/queue/result: status, headers and body of the model
                ended = self._response_body("fal-ai", int(number), waiting=False)
                ended = ended if job.result == 200 else json.dumps(job.error).encode()
                await reply.send(ended, status=job.result, headers=job.headers)
            case "GET", ["fal-ai", "maker", "model", "requests", number, "status"]:
                await self._poll("queue", int(number), reply)
            case _:
                await reply.send(b"Not Found", status=404, media_type="text/plain")

    async def _draw(self, provider: str, reply: Reply, *, queue: bool) -> None:
        script = self.queue.popleft() if self.queue else self.usual
        self._jobs.append(script)
        number = len(self._jobs) - 1
        await asyncio.sleep(script.delay)
        kind = "queue" if queue else provider
        answer = self._response_body(kind, number, waiting=queue or bool(script.looks))
        if provider == "hf-inference" and script.raw is None and script.status is None:
            await _send_scripted(replace(script, media_type="image/png"), script.picture, reply)
        elif provider == "replicate" and script.status is None:
            # https://replicate.com/docs/reference/http#predictions.create
            created = {"Location": f"https://api.replicate.com/v1/predictions/job/{number}"}
            headers = {**created, **script.headers}
            code = 202 if script.looks else 201
            await _send_scripted(replace(script, headers=headers), answer, reply, status=code)
        else:
            await _send_scripted(script, answer, reply)

    async def _poll(self, provider: str, number: int, reply: Reply) -> None:
        looks = self._jobs[number].looks
        looked = self._poll_counts[number] = self._poll_counts.get(number, 0) + 1
        meets = looks[looked - 1] if looked <= len(looks) else False
        if isinstance(meets, bool):
            # https://fal.ai/docs/model-apis/model-endpoints/queue: 202 until it is completed
            status = 202 if provider == "queue" and meets else 200
            await reply.send(self._response_body(provider, number, waiting=meets), status=status)
        else:
            await reply.send(b'{"error": "not now"}', status=meets)

    def _response_body(self, provider: str, number: int, *, waiting: bool) -> bytes:
        job = self._jobs[number]
        url = f"{self.origin}/picture/{number}"
        given_up = job.given_up is not None and not waiting
        answer: dict[str, Any]
        match provider:
            case "fal-ai":
                answer = {
                    "images": [{"url": url, "content_type": "image/png"}],
                    "timings": {"inference": 0.25},
                    "seed": 11,
                    "has_nsfw_concepts": [job.withheld],
                }
            case "queue":
                answer = {
                    "status": (job.waiting or "IN_QUEUE") if waiting else "COMPLETED",
                    "request_id": str(number),
                    "response_url": f"https://queue.fal.run/maker/model/requests/{number}",
                    "status_url": f"https://queue.fal.run/maker/model/requests/{number}/status",
                    "cancel_url": f"https://queue.fal.run/maker/model/requests/{number}/cancel",
                    **({"queue_position": 0} if waiting else {"metrics": {}, "logs": None}),
                }
            case "replicate":
                state = "failed" if given_up else "succeeded"
                state = (job.waiting or "processing") if waiting else state
                early = None if job.sketch is None else [f"{self.origin}/sketch/{number}"]
                answer = {
                    "id": f"job/{number}",
                    "status": state,
                    "output": [url] if state == "succeeded" else early,
                    "error": job.given_up,
                    "metrics": {"predict_time": 0.5} if state == "succeeded" else {},
                    "urls": {"get": f"https://api.replicate.com/v1/predictions/job/{number}"},
                }
            case "wavespeed":
                state = "failed" if given_up else "completed"
                state = (job.waiting or "created") if waiting else state
                task = {
                    "id": f"job/{number}",
                    "status": state,
                    "outputs": [url] if state == "completed" else [],
                }
                get = f"https://api.wavespeed.ai/api/v3/predictions/job/{number}"
                task |= {"error": job.given_up or "", "urls": {"get": get}}
                answer = {"code": 200, "message": "success", "data": task}
            case "zai-org":
                state = "FAIL" if given_up else "SUCCESS"
                state = (job.waiting or "PROCESSING") if waiting else state
                answer = {"id": f"job/{number}", "model": "glm-image", "task_status": state}
                if state == "SUCCESS":
                    answer["image_result"] = [{"url": url}]
            case _:
                answer = {"data": [{"b64_json": base64.b64encode(job.picture).decode()}]}
        return json.dumps(answer).encode()


async def _send_scripted(script: Script, answer: bytes, reply: Reply, *, status: int = 200) -> None:
    if script.hang:
        await asyncio.sleep(3600)
    if script.status is not None:
        answer = json.dumps(script.error).encode()
    answer = answer if script.raw is None else script.raw
    await reply.start(
        status=script.status or status,
        media_type=script.media_type,
        headers={"Content-Length": str(len(answer)), **script.headers},
    )
    if script.cut is not None:
        await reply.write(answer[: script.cut])
        raise Cut
    if not script.drip:
        await reply.write(answer)
        return
    for byte in answer:
        await reply.write(bytes([byte]))
        await asyncio.sleep(script.drip)
