"""Read what an AUTOMATIC1111 server answers: pictures, their seeds, what drew them.

Beside the pictures that were asked for an answer may hold a grid of them, in front, and the maps
that ControlNet made, behind. It takes a few milliseconds a picture: call it in a thread.

What a finished job on an AUTOMATIC1111 server took, and what it was drawn with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from backends.a1111.client import Checkpoint
from backends.a1111.progress import decode_base64
from backends.a1111.request import ApiRequest
from backends.base import Applied, Picture, Receipt
from backends.errors import ServiceFault
from backends.fit import record_actual
from backends.images.validation import check

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A finished answer; `checkpoint` and `sampler` are what the server says that it used."""

    pictures: tuple[Picture, ...]
    checkpoint: str | None
    sampler: str | None


def parse_response(body: bytes, count: int) -> ApiResponse:
    """Read an answer to a request for `count` pictures.

    Raises:
        ValueError: this is not JSON.
        ServiceFault: it is, but there is no picture in it, or a broken one.
    """
    answer = json.loads(body)
    listed = cast(object, answer.get("images")) if isinstance(answer, dict) else None
    images = cast(list[object], listed) if isinstance(listed, list) else []
    info = _parse_info(cast(dict[str, object], answer).get("info")) if images else {}
    first = info.get("index_of_first_image")
    first = first if isinstance(first, int) and 0 <= first < len(images) else 0
    seeds = info.get("all_seeds")
    pictures = tuple(
        _parse_picture(image, _seed(seeds, number))
        for number, image in enumerate(images[first : first + count])
    )
    if not pictures:
        raise ServiceFault(
            "The server answered without a picture. Its console may say why: look there first."
        )
    return ApiResponse(
        pictures=pictures,
        checkpoint=_text(info.get("sd_model_name")),
        sampler=_text(info.get("sampler_name")),
    )


def _parse_info(text: object) -> Mapping[str, Any]:
    """The facts that come as JSON within the JSON; some servers leave them out."""
    try:
        info = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    return cast(Mapping[str, Any], info) if isinstance(info, dict) else {}


def _parse_picture(image: object, seed: int | None) -> Picture:
    data = decode_base64(image.encode()) if isinstance(image, str) else None
    if data is None:
        raise ServiceFault("The server sent a damaged picture. Try again.")
    return check(data, seed=seed)


def _seed(seeds: object, number: int) -> int | None:
    known = cast(list[object], seeds) if isinstance(seeds, list) else []
    seed = known[number] if number < len(known) else None
    return seed if isinstance(seed, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def build_receipt(
    call: ApiRequest, answer: ApiResponse, chosen: Checkpoint | None, generate: float | None
) -> Receipt:
    """Return the receipt of an answer; `chosen` is the checkpoint that was asked for by name."""
    return Receipt(honoured=_actual_values(call, answer, chosen), generate=generate)


def generation_seconds(response: "httpx2.Response", waited: float) -> float | None:
    """Return the server's own time for a request, without the wait behind other jobs."""
    try:
        return max(0.0, float(response.headers.get("x-process-time", "")) - waited)
    except ValueError:
        return None


def _actual_values(
    call: ApiRequest, answer: ApiResponse, chosen: Checkpoint | None
) -> dict[str, Applied]:
    """What was asked of the server, corrected by what it says and sent."""
    honoured = record_actual(call.honoured, answer.pictures)
    picture = answer.pictures[0]
    seed = honoured.get("seed", Applied(None, None))
    if picture.seed is not None:
        other = seed.used not in (None, picture.seed)
        note = f"seed {picture.seed} instead of {seed.used}" if other else seed.note
        honoured["seed"] = replace(seed, used=picture.seed, note=note)
    if answer.checkpoint is not None:
        asked = chosen.title if chosen else None
        other = chosen is not None and not chosen.matches(answer.checkpoint)
        note = f"checkpoint {answer.checkpoint} instead of {asked}" if other else ""
        honoured["checkpoint"] = Applied(asked, answer.checkpoint, note)
    taken = honoured.get("sampler_name")
    if taken is not None and answer.sampler not in (None, taken.used):
        note = f"sampler {answer.sampler} instead of {taken.requested}"
        honoured["sampler_name"] = replace(taken, used=answer.sampler, note=note)
    return honoured
