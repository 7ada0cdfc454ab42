"""What a finished job on an AUTOMATIC1111 server took, and what it was drawn with."""

from dataclasses import replace
from typing import TYPE_CHECKING

from backends.a1111.client import Checkpoint
from backends.a1111.request import Call
from backends.a1111.response import Answer
from backends.base import Honour, Receipt
from backends.made import as_made

if TYPE_CHECKING:
    import httpx2


def receipt(
    call: Call, answer: Answer, chosen: Checkpoint | None, generate: float | None
) -> Receipt:
    """Return the receipt of an answer; `chosen` is the checkpoint that was asked for by name."""
    return Receipt(honoured=_honoured(call, answer, chosen), generate=generate)


def seconds(response: "httpx2.Response", waited: float) -> float | None:
    """Return the server's own time for a request, without the wait behind other jobs."""
    try:
        return max(0.0, float(response.headers.get("x-process-time", "")) - waited)
    except ValueError:
        return None


def _honoured(call: Call, answer: Answer, chosen: Checkpoint | None) -> dict[str, Honour]:
    """What was asked of the server, corrected by what it says and sent."""
    honoured = as_made(call.honoured, answer.pictures)
    picture = answer.pictures[0]
    seed = honoured.get("seed", Honour(None, None))
    if picture.seed is not None:
        other = seed.used not in (None, picture.seed)
        note = f"seed {picture.seed} instead of {seed.used}" if other else seed.note
        honoured["seed"] = replace(seed, used=picture.seed, note=note)
    if answer.checkpoint is not None:
        asked = chosen.title if chosen else None
        other = chosen is not None and not chosen.known_as(answer.checkpoint)
        note = f"checkpoint {answer.checkpoint} instead of {asked}" if other else ""
        honoured["checkpoint"] = Honour(asked, answer.checkpoint, note)
    taken = honoured.get("sampler_name")
    if taken is not None and answer.sampler not in (None, taken.used):
        note = f"sampler {answer.sampler} instead of {taken.asked}"
        honoured["sampler_name"] = replace(taken, used=answer.sampler, note=note)
    return honoured
