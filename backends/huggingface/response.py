"""Parse the responses of the providers.

A picture is sent as bytes, as base64 or as a URL; some providers respond at once with an address to
poll. For image-to-image, Fal reports only the state there, and has the result at a third address.

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
from backends.images.validation import check
from backends.json_values import loads, mapping, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A finished picture or its URL; seed and seconds of inference, if the provider states them."""

    picture: Picture | str
    seed: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The picture is not finished: poll `path` (None: the same again) after `pause` seconds."""

    path: str | None
    pause: float


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
    match provider:
        case "hf-inference":
            return Found(picture=check(body))
        case "nscale" | "together":
            _, pictures = parse_pictures(body)
            return Found(picture=pictures[0])
        case "fal-ai":
            answer = mapping(loads(body))
            return _queued(answer, polled) or _fal(answer, service)
        case _:
            return _PARSERS[provider](mapping(loads(body)), service)


def is_result(path: str) -> bool:
    """Return whether `path` is that of the result, or the error, of a job in Fal's queue."""
    return re.search(r"/fal-ai/.+/requests/[^/]+$", path) is not None


def _queued(answer: Mapping[str, object], polled: str | None) -> Waiting | None:
    """Return what to poll next in Fal's queue, None if the response is not about the queue."""
    match answer:
        case {"status": "IN_QUEUE" | "IN_PROGRESS"} if polled is not None:
            return Waiting(None, 0.5)
        case {"status": "COMPLETED"} if polled is not None and "/status?" in polled:
            return Waiting(polled.replace("/status?", "?"), 0.0)
        case {"request_id": str(), "response_url": str(url)} if "images" not in answer:
            return Waiting(f"{urlsplit(url).path}/status?_subdomain=queue", 0.5)
        case _:
            return None


def _fal(answer: Mapping[str, object], service: Service) -> Parsed:
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
            raise without_picture(service)


def _replicate(answer: Mapping[str, object], service: Service) -> Parsed:
    match answer:
        case {"status": "failed" | "canceled"}:
            raise _failed(answer, service)
        case {"output": [str(url), *_] | str(url)} if url:
            return Found(picture=url)
        case {"status": "starting" | "processing"}:
            path = urlsplit(str(mapping(answer.get("urls")).get("get") or "")).path
            if path:
                return Waiting(path, 1.0)
            raise without_picture(service)
        case _:
            raise without_picture(service)


def _wavespeed(answer: Mapping[str, object], service: Service) -> Parsed:
    task = mapping(answer.get("data"))
    match task:
        case {"status": "failed"}:
            raise _failed(task, service)
        case {"status": "completed", "outputs": [str(url), *_]} if url:
            return Found(picture=url)
        case {"status": "created" | "processing"}:
            path = urlsplit(str(mapping(task.get("urls")).get("get") or "")).path
            return Waiting(path or None, 0.5)
        case _:
            raise without_picture(service)


def _zai(answer: Mapping[str, object], service: Service) -> Parsed:
    match answer:
        case {"task_status": "FAIL"}:
            raise _failed(answer, service)
        case {"image_result": [{"url": str(url)}, *_]} if url:
            return Found(picture=url)
        case {"task_status": "PROCESSING"}:
            task = answer.get("id")
            path = f"/api/paas/v4/async-result/{task}" if isinstance(task, str) else None
            return Waiting(path, 2.0)
        case _:
            raise without_picture(service)


def _failed(answer: Mapping[str, object], service: Service) -> BackendError:
    return failed(text(answer.get("error")) or "", service)


_PARSERS: Mapping[str, Callable[[Mapping[str, object], Service], Parsed]] = {
    "replicate": _replicate,
    "wavespeed": _wavespeed,
    "zai-org": _zai,
}
