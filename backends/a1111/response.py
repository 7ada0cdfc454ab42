"""Parse the response of an AUTOMATIC1111 server: pictures, seeds, and what drew them.

Besides the requested pictures a response may hold a grid of them, in front, and the maps that
ControlNet made, behind. Parsing takes a few milliseconds for each picture: call it in a thread.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from backends.a1111.client import Checkpoint
from backends.a1111.progress import decode_base64
from backends.a1111.request import ApiRequest
from backends.base import Applied, Picture, Receipt
from backends.errors import ServiceFault
from backends.fit import record_actual
from backends.images.validation import check
from backends.json_values import items, loads, mapping, text
from backends.wording import service_message

if TYPE_CHECKING:
    import httpx2

# A value with a comma or a colon is quoted.
_PARAMETER: Final = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

# Units are described as "ControlNet 0" by the extension and by Forge, formerly as "ControlNet-0
# Enabled" and so on, or without a number if there is only one.
_UNIT: Final = re.compile(r"ControlNet[ -]?(\d*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A parsed response.

    `checkpoint`, `checkpoint_hash`, `sampler` and `schedule` are those that the server reports as
    used, None where it does not; `controls` is the number of ControlNet units that it reports.
    `failures` are the pictures that are damaged.
    """

    pictures: tuple[Picture, ...]
    failures: tuple[ServiceFault, ...]
    checkpoint: str | None
    checkpoint_hash: str | None
    sampler: str | None
    schedule: str | None
    controls: int


def parse_response(body: bytes, count: int, *, has_maps: bool = False) -> ApiResponse:
    """Parse the response to a request for `count` pictures; it may hold none.

    `has_maps` says that the maps of controls may follow the pictures.

    Raises:
        ValueError: the body is not JSON.
        ServiceFault: the job failed, or the only picture is damaged.
    """
    answer = mapping(loads(body))
    images = items(answer.get("images"))
    info = _parse_info(answer.get("info"))
    first = info.get("index_of_first_image")
    first = first if isinstance(first, int) and 0 <= first < len(images) else 0
    described = items(info.get("infotexts"))[first:]
    if has_maps and described:  # each picture has its description, a map has none
        count = min(count, len(described))
    seeds = info.get("all_seeds")
    pictures: list[Picture] = []
    failures: list[ServiceFault] = []
    for number, image in enumerate(images[first : first + count]):
        try:
            pictures.append(_parse_picture(image, _seed(seeds, number)))
        except ServiceFault as error:
            failures.append(error)
    if not pictures:
        _raise_without_picture(answer, info, failures)
    reported = _parse_infotext(described)
    schedule = reported.get("Schedule type") if reported else None
    return ApiResponse(
        pictures=tuple(pictures),
        failures=tuple(failures),
        checkpoint=text(info.get("sd_model_name")) or reported.get("Model"),
        checkpoint_hash=text(info.get("sd_model_hash")) or reported.get("Model hash"),
        sampler=text(info.get("sampler_name")),
        schedule=schedule or text(mapping(answer.get("parameters")).get("scheduler")),
        controls=len({unit[1] for name in reported if (unit := _UNIT.match(name))}),
    )


def _raise_without_picture(
    answer: Mapping[str, Any], info: Mapping[str, Any], failures: list[ServiceFault]
) -> None:
    """Raise the error for a response without pictures, unless its job may have been interrupted.

    SD.Next answers 200 without any details if it has no checkpoint, or cannot load one.
    """
    if failures:
        raise failures[0]
    message = text(answer.get("error")) or text(answer.get("detail"))
    if message:
        raise ServiceFault(f"The server failed: {service_message(message)}")
    if not info:
        raise ServiceFault(
            "The server answered without a picture and without details: its checkpoint could not "
            "be loaded, or it has none. Look at its console, and choose another checkpoint."
        )


def raise_if_unfinished(parsed: ApiResponse, server: str, *, interrupted: bool) -> None:
    """Check that the job ended by itself; its pictures are kept if it did not.

    Raises:
        ServiceFault: it was interrupted at the server, or there is no picture.
    """
    if interrupted:
        kept = " The last picture may be half finished." if parsed.pictures else ""
        raise ServiceFault(
            f"Somebody interrupted or skipped this job on {_mid_sentence(server)}.{kept} Try again."
        )
    if not parsed.pictures:
        raise ServiceFault(
            "The server answered without a picture. Its console may say why: look there first."
        )


def _mid_sentence(name: str) -> str:
    return name[:1].lower() + name[1:]


def _parse_infotext(infotexts: list[Any]) -> dict[str, str]:
    """Return the parameters in the last line of a picture's description, empty if there is none.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/infotext_utils.py
    """
    lines = (text(infotexts[0]) or "" if infotexts else "").strip().splitlines()
    if not lines or not lines[-1].startswith("Steps: "):
        return {}
    return {name.strip(): value.strip('"') for name, value in _PARAMETER.findall(lines[-1])}


def _parse_info(encoded: object) -> Mapping[str, Any]:
    """Return the details: JSON within the JSON, or an object; some servers leave them out."""
    if isinstance(encoded, dict):
        return mapping(cast(object, encoded))
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


def generation_seconds(response: "httpx2.Response", waited: float | None) -> float | None:
    """Return the server's own seconds for a request without those that it `waited` in its queue."""
    try:
        seconds = float(response.headers.get("x-process-time", ""))
    except ValueError:
        return None
    return None if waited is None else max(0.0, seconds - waited)


def _actual_values(
    api_request: ApiRequest, parsed: ApiResponse, checkpoint: Checkpoint | None
) -> dict[str, Applied]:
    """Return the requested values, corrected by those that the server reports.

    What servers are known to drop in silence counts as used only where they report it.
    """
    honoured = record_actual(api_request.honoured, parsed.pictures, parsed.failures)
    picture = parsed.pictures[0]
    seed = honoured.get("seed", Applied(None, None))
    if picture.seed is not None:
        differs = seed.used not in (None, picture.seed)
        note = f"seed {picture.seed} instead of {seed.used}" if differs else seed.note
        honoured["seed"] = replace(seed, used=picture.seed, note=note)
    reported = parsed.checkpoint or parsed.checkpoint_hash
    if checkpoint is not None or reported is not None:
        honoured["checkpoint"] = _actual_checkpoint(parsed, checkpoint)
    sampler = honoured.get("sampler_name")
    if sampler is not None and parsed.sampler not in (None, sampler.used):
        note = f"sampler {parsed.sampler} instead of {sampler.requested}"
        honoured["sampler_name"] = replace(sampler, used=parsed.sampler, note=note)
    schedule = honoured.get("scheduler")
    if schedule is not None:
        honoured["scheduler"] = _actual_schedule(schedule, parsed.schedule)
    for number, name in enumerate(api_request.controls, start=1):
        if parsed.controls < number:
            note = "control picture not confirmed by the server: it may have been ignored"
            honoured[name] = replace(honoured[name], used=None, note=note)
    return honoured


def _actual_checkpoint(parsed: ApiResponse, checkpoint: Checkpoint | None) -> Applied:
    reported = parsed.checkpoint or parsed.checkpoint_hash
    if checkpoint is None:
        return Applied(None, reported)
    if reported is None:
        note = "checkpoint not confirmed: the server does not say which one it used"
        return Applied(checkpoint.title, None, note)
    by_hash = parsed.checkpoint_hash is not None and checkpoint.has_hash(parsed.checkpoint_hash)
    same = by_hash or (parsed.checkpoint is not None and checkpoint.matches(parsed.checkpoint))
    note = "" if same else f"checkpoint {reported} instead of {checkpoint.title}"
    return Applied(checkpoint.title, reported, note)


def _actual_schedule(schedule: Applied, reported: str | None) -> Applied:
    if reported is None:
        note = "schedule type ignored: the server does not report one"
        return replace(schedule, used=None, note=note)
    if _letters(reported) == _letters(str(schedule.used)):
        return schedule
    note = f"schedule type {reported} instead of {schedule.requested}"
    return replace(schedule, used=reported, note=note)


def _letters(name: str) -> str:
    """Return a name in lower case without separators: "SGM Uniform" is "sgm_uniform"."""
    return re.sub(r"[\W_]", "", name.lower())
