"""Read what an AUTOMATIC1111 server answers: pictures, their seeds, what drew them.

Beside the pictures that were asked for an answer may hold a grid of them, in front, and the maps
that ControlNet made, behind. It takes a few milliseconds a picture: call it in a thread.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from backends.a1111.progress import decoded
from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.validation import check


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A finished answer; `checkpoint` and `sampler` are what the server says that it used."""

    pictures: tuple[Picture, ...]
    checkpoint: str | None
    sampler: str | None


def read(body: bytes, count: int) -> Answer:
    """Read an answer to a request for `count` pictures.

    Raises:
        ValueError: this is not JSON.
        ServiceFault: it is, but there is no picture in it, or a broken one.
    """
    answer = json.loads(body)
    listed = cast(object, answer.get("images")) if isinstance(answer, dict) else None
    images = cast(list[object], listed) if isinstance(listed, list) else []
    info = _info(cast(dict[str, object], answer).get("info")) if images else {}
    first = info.get("index_of_first_image")
    first = first if isinstance(first, int) and 0 <= first < len(images) else 0
    seeds = info.get("all_seeds")
    pictures = tuple(
        _picture(image, _seed(seeds, number))
        for number, image in enumerate(images[first : first + count])
    )
    if not pictures:
        raise ServiceFault(
            "The server answered without a picture. Its console may say why: look there first."
        )
    return Answer(
        pictures=pictures,
        checkpoint=_text(info.get("sd_model_name")),
        sampler=_text(info.get("sampler_name")),
    )


def _info(text: object) -> Mapping[str, Any]:
    """The facts that come as JSON within the JSON; some servers leave them out."""
    try:
        info = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    return cast(Mapping[str, Any], info) if isinstance(info, dict) else {}


def _picture(image: object, seed: int | None) -> Picture:
    data = decoded(image.encode()) if isinstance(image, str) else None
    if data is None:
        raise ServiceFault("The server sent a damaged picture. Try again.")
    return check(data, seed=seed)


def _seed(seeds: object, number: int) -> int | None:
    known = cast(list[object], seeds) if isinstance(seeds, list) else []
    seed = known[number] if number < len(known) else None
    return seed if isinstance(seed, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
