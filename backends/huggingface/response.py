"""What each provider answers, and where in it the picture is.

A picture comes as bytes, as base64 or as an address; some providers answer at once with a place at
which to ask again. Fal, where it starts from a picture, says there only that it is done, and has
the result at a third place. The package reads all of them too, but it would ask and download in
threads that cannot be stopped, wait without end, and take a page that says "not found" for a
picture.
"""

import json
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
from backends.json_values import mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A finished picture, or its address; the seed and seconds of drawing that were named."""

    picture: Picture | str
    seed: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is being drawn: ask again at `path` (None: where was asked before) after a `pause`."""

    path: str | None
    pause: float


Reading: TypeAlias = Found | Waiting


def parse_response(
    provider: str, body: bytes, service: Service, asked: str | None = None
) -> Reading:
    """Read an answer of `provider`; large ones take a while, run it in a thread.

    `asked` is the path of a question what became of it.

    Raises:
        BackendError: there is no picture in it, for a reason that is given or not.
        ValueError: it is not JSON where it should be.
    """
    match provider:
        case "hf-inference":
            return Found(picture=check(body))
        case "nscale" | "together":
            _, pictures = parse_pictures(body)
            return Found(picture=pictures[0])
        case "fal-ai":
            answer = mapping(json.loads(body))
            return _queued(answer, asked) or _fal(answer, service)
        case _:
            return _READERS[provider](mapping(json.loads(body)), service)


def is_result(path: str) -> bool:
    """Whether the end of one of Fal's queued jobs lies at `path`: a picture, or why not."""
    return re.search(r"/fal-ai/.+/requests/[^/]+$", path) is not None


def _queued(answer: Mapping[str, object], asked: str | None) -> Waiting | None:
    """Where Fal is to be asked next; None where this is no news of its queue."""
    match answer:
        case {"status": "IN_QUEUE" | "IN_PROGRESS"} if asked is not None:
            return Waiting(None, 0.5)
        case {"status": "COMPLETED"} if asked is not None:
            return Waiting(asked.replace("/status?", "?"), 0.0)
        case {"request_id": str(), "response_url": str(url)} if "images" not in answer:
            return Waiting(f"{urlsplit(url).path}/status?_subdomain=queue", 0.5)
        case _:
            return None


def _fal(answer: Mapping[str, object], service: Service) -> Reading:
    if answer.get("has_nsfw_concepts") == [True]:
        refused = declined(service)  # a black picture came in its place
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


def _replicate(answer: Mapping[str, object], service: Service) -> Reading:
    match answer:
        case {"status": "failed" | "canceled"}:
            raise _gave_up(answer, service)
        case {"output": [str(url), *_] | str(url)} if url:
            return Found(picture=url)
        case {"status": "starting" | "processing"}:
            path = urlsplit(str(mapping(answer.get("urls")).get("get") or "")).path
            if path:
                return Waiting(path, 1.0)
            raise without_picture(service)
        case _:
            raise without_picture(service)


def _wavespeed(answer: Mapping[str, object], service: Service) -> Reading:
    task = mapping(answer.get("data"))
    match task:
        case {"status": "failed"}:
            raise _gave_up(task, service)
        case {"status": "completed", "outputs": [str(url), *_]} if url:
            return Found(picture=url)
        case {"status": "created" | "processing"}:
            path = urlsplit(str(mapping(task.get("urls")).get("get") or "")).path
            return Waiting(path or None, 0.5)
        case _:
            raise without_picture(service)


def _zai(answer: Mapping[str, object], service: Service) -> Reading:
    match answer:
        case {"task_status": "FAIL"}:
            raise _gave_up(answer, service)
        case {"image_result": [{"url": str(url)}, *_]} if url:
            return Found(picture=url)
        case {"task_status": "PROCESSING"}:
            task = answer.get("id")
            path = f"/api/paas/v4/async-result/{task}" if isinstance(task, str) else None
            return Waiting(path, 2.0)
        case _:
            raise without_picture(service)


def _gave_up(answer: Mapping[str, object], service: Service) -> BackendError:
    said = answer.get("error")
    return failed(said if isinstance(said, str) else "", service)


_READERS: Mapping[str, Callable[[Mapping[str, object], Service], Reading]] = {
    "replicate": _replicate,
    "wavespeed": _wavespeed,
    "zai-org": _zai,
}
