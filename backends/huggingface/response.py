"""Parse the responses of the providers.

A picture is sent as bytes, as base64 or as a URL; some providers respond at once with an address to
poll. For image-to-image, Fal reports only the state there, and has the result at a third address.
Only a state that the provider's documentation calls an end is one; any other is waited for.

The package can parse all of them too, but it polls and downloads in threads that cannot be
cancelled, has no timeout, and takes a "not found" page for a picture.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from backends.base import Picture
from backends.errors import BackendError
from backends.huggingface.errors import Service, declined, failed, without_picture
from backends.images.base64_json import parse_pictures
from backends.json_values import loads, mapping, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A finished picture or its URL; seed and seconds of inference, if the provider states them."""

    picture: Picture | str
    seed: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The picture is not finished: poll `path` (None: the same again) after `pause` seconds.

    `queued` says that the provider has not begun to draw it.
    """

    path: str | None
    pause: float
    queued: bool = False


Parsed: TypeAlias = Found | Waiting


def parse_response(
    provider: str, body: bytes, service: Service, polled: str | None = None
) -> Parsed:
    """Parse a response of `provider`; slow for a large one, call it in a thread.

    `polled` is the path that was polled, None for the response to the request itself.

    Raises:
        BackendError: there is no picture in it; the sentence gives the provider's reason, if any.
        ValueError: it is not JSON where it should be.
    """
    if provider in ("hf-inference", "nscale", "together"):
        return _in_the_answer(body, service)
    answer = mapping(loads(body))
    found = _queued(answer, polled) if provider == "fal-ai" else None
    found = found or _PARSERS[provider](answer, service)
    return found or _in_the_answer(body, service)


def _in_the_answer(body: bytes, service: Service) -> Found:
    """Return the picture that an answer holds, in whatever form and field."""
    answer = parse_pictures(body)
    if not answer.pictures and (message := _said(answer.body)):
        raise failed(message, service)
    if not (answer.pictures or answer.losses):
        raise without_picture(service)
    answer.require()
    return Found(picture=answer.pictures[0])


def _said(answer: Mapping[str, object]) -> str | None:
    error = answer.get("error")
    return text(error) or text(mapping(error).get("message")) or text(answer.get("detail"))


def is_result(path: str) -> bool:
    """Return whether `path` is that of the result, or the error, of a job in Fal's queue."""
    return re.search(r"/fal-ai/.+/requests/[^/]+$", path) is not None


def _queued(answer: Mapping[str, object], polled: str | None) -> Waiting | None:
    """Return what to poll next in Fal's queue, None if the response is not about the queue."""
    match answer:
        case {"status": "COMPLETED"} if polled is not None and "/status?" in polled:
            return Waiting(polled.replace("/status?", "?"), 0.0)
        case {"status": str(status)} if polled is not None and "images" not in answer:
            return Waiting(None, 0.5, queued=status == "IN_QUEUE")  # else IN_PROGRESS
        case {"request_id": str(), "response_url": str(url)} if "images" not in answer:
            queued = answer.get("status") == "IN_QUEUE"
            return Waiting(f"{urlsplit(url).path}/status?_subdomain=queue", 0.5, queued)
        case _:
            return None


def _fal(answer: Mapping[str, object], service: Service) -> Parsed | None:
    if answer.get("has_nsfw_concepts") == [True]:
        refused = declined(service)  # the response has a black picture instead
        refused.charged = None
        raise refused
    match answer.get("images"):
        case [{"url": str(url)}, *_] if url:
            seed = answer.get("seed")
            seconds = mapping(answer.get("timings")).get("inference")
            return Found(
                picture=url,
                seed=seed if isinstance(seed, int) else None,
                seconds=seconds if isinstance(seconds, float) else None,
            )
        case _:
            return None


def _replicate(answer: Mapping[str, object], service: Service) -> Parsed | None:
    match answer:
        case {"status": "failed" | "canceled" | "aborted"}:
            raise _failed(answer, service)
        # The output grows while a model draws, and may begin with sketches: only the end counts.
        case {"status": str(status)} if status != "succeeded":  # starting, processing
            path = urlsplit(str(mapping(answer.get("urls")).get("get") or "")).path
            if path:
                return Waiting(path, 1.0, queued=status in ("starting", "queued"))
            raise without_picture(service)
        case {"output": [str(url), *_] | str(url)} if url:
            # https://replicate.com/docs/reference/http#predictions.get
            seconds = mapping(answer.get("metrics")).get("predict_time")
            return Found(picture=url, seconds=seconds if isinstance(seconds, float) else None)
        case _:
            return None


def _wavespeed(answer: Mapping[str, object], service: Service) -> Parsed | None:
    task = mapping(answer.get("data"))
    if answer.get("code") not in (None, 200):  # the envelope has a status of its own
        raise failed(text(answer.get("message")) or "", service)
    match task:
        case {"status": "failed" | "timeout" | "cancelled" | "canceled"}:
            raise _failed(task, service)
        case {"status": "completed", "outputs": [str(url), *_]} if url:
            return Found(picture=url)
        case {"status": "completed"}:
            return None
        case {"status": str(status)}:  # created, pending, processing
            path = urlsplit(str(mapping(task.get("urls")).get("get") or "")).path
            return Waiting(path or None, 0.5, queued=status in ("created", "pending"))
        case _:
            return None


def _zai(answer: Mapping[str, object], service: Service) -> Parsed | None:
    match answer:
        case {"task_status": "FAIL"}:
            raise _failed(answer, service)
        case {"image_result": [{"url": str(url)}, *_]} if url:
            return Found(picture=url)
        case {"task_status": "SUCCESS"}:
            return None
        case {"task_status": str()}:  # PROCESSING
            task = answer.get("id")
            path = f"/api/paas/v4/async-result/{task}" if isinstance(task, str) else None
            return Waiting(path, 2.0)
        case _:
            return None


def _failed(answer: Mapping[str, object], service: Service) -> BackendError:
    return failed(_said(answer) or "", service)


_PARSERS: Mapping[str, Callable[[Mapping[str, object], Service], Parsed | None]] = {
    "fal-ai": _fal,
    "replicate": _replicate,
    "wavespeed": _wavespeed,
    "zai-org": _zai,
}
