"""Parse the response of an AUTOMATIC1111 server: pictures, seeds, and what drew them.

Besides the requested pictures a response may hold a grid of them, in front, and the maps that
ControlNet made, behind. Parsing takes a few milliseconds for each picture: call it in a thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backends.a1111.client import Checkpoint
from backends.a1111.progress import decode_base64
from backends.a1111.request import ApiRequest
from backends.base import Applied, Picture, Receipt
from backends.errors import ServiceFault
from backends.fit import record_actual
from backends.images.validation import check
from backends.json_values import items, loads, mapping, text

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A parsed response; `checkpoint` and `sampler` are those that the server reports as used."""

    pictures: tuple[Picture, ...]
    checkpoint: str | None
    sampler: str | None


def parse_response(body: bytes, count: int) -> ApiResponse:
    """Parse the response to a request for `count` pictures.

    Raises:
        ValueError: the body is not JSON.
        ServiceFault: it holds no picture, or a damaged one.
    """
    answer = mapping(loads(body))
    images = items(answer.get("images"))
    info = _parse_info(answer.get("info")) if images else {}
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
        checkpoint=text(info.get("sd_model_name")),
        sampler=text(info.get("sampler_name")),
    )


def _parse_info(encoded: object) -> Mapping[str, Any]:
    """Return the details that are JSON within the JSON; some servers leave them out."""
    try:
        return mapping(loads(text(encoded) or "{}"))
    except ValueError:
        return {}


def _parse_picture(image: object, seed: int | None) -> Picture:
    data = decode_base64(image.encode()) if isinstance(image, str) else None
    if data is None:
        raise ServiceFault("The server sent a damaged picture. Try again.")
    return check(data, seed=seed)


def _seed(seeds: object, number: int) -> int | None:
    known = items(seeds)
    seed = known[number] if number < len(known) else None
    return seed if isinstance(seed, int) else None


def build_receipt(
    api_request: ApiRequest,
    parsed: ApiResponse,
    checkpoint: Checkpoint | None,
    generate: float | None,
) -> Receipt:
    """Return the receipt of a response; `checkpoint` is the one that was requested by name."""
    return Receipt(honoured=_actual_values(api_request, parsed, checkpoint), generate=generate)


def generation_seconds(response: "httpx2.Response", waited: float) -> float | None:
    """Return the server's own seconds for a request, without the wait in its queue."""
    try:
        return max(0.0, float(response.headers.get("x-process-time", "")) - waited)
    except ValueError:
        return None


def _actual_values(
    api_request: ApiRequest, parsed: ApiResponse, checkpoint: Checkpoint | None
) -> dict[str, Applied]:
    """Return the requested values, corrected by those that the server reports."""
    honoured = record_actual(api_request.honoured, parsed.pictures)
    picture = parsed.pictures[0]
    seed = honoured.get("seed", Applied(None, None))
    if picture.seed is not None:
        differs = seed.used not in (None, picture.seed)
        note = f"seed {picture.seed} instead of {seed.used}" if differs else seed.note
        honoured["seed"] = replace(seed, used=picture.seed, note=note)
    if parsed.checkpoint is not None:
        requested = checkpoint.title if checkpoint else None
        differs = checkpoint is not None and not checkpoint.matches(parsed.checkpoint)
        note = f"checkpoint {parsed.checkpoint} instead of {requested}" if differs else ""
        honoured["checkpoint"] = Applied(requested, parsed.checkpoint, note)
    sampler = honoured.get("sampler_name")
    if sampler is not None and parsed.sampler not in (None, sampler.used):
        note = f"sampler {parsed.sampler} instead of {sampler.requested}"
        honoured["sampler_name"] = replace(sampler, used=parsed.sampler, note=note)
    return honoured
