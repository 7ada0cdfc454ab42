"""What the prompts of one job on a ComfyUI server come to, taken together."""

from collections.abc import Sequence
from dataclasses import replace

from backends.base import Event, Honour, Picture, Progress, Receipt
from backends.comfyui.execution import Drawn
from backends.comfyui.request import Call
from backends.errors import BackendError
from backends.made import as_made


def of_all(event: Event, number: int, count: int) -> Event:
    """Return the progress of one of several prompts as that of them all."""
    match event:
        case Progress(step=int() as step, steps=int() as steps) if count > 1:
            return replace(event, step=number * steps + step, steps=count * steps)
        case _:
            return event


def receipt(
    call: Call, pictures: list[Picture], made: list[Drawn], failures: list[BackendError]
) -> Receipt:
    """Return what a job came to; `failures` says why some of its pictures did not come."""
    honoured = as_made(call.honoured, pictures, failures)
    cached = sum(drawn.cached for drawn in made)
    if cached:
        some = "" if cached == len(made) else f" for {cached} of {len(made)} pictures"
        note = f"cached by the server{some}: the time says nothing about its speed"
        honoured["cache"] = Honour(None, True, note)
    return Receipt(
        honoured=honoured,
        load=_sum([drawn.load for drawn in made if drawn.load is not None]),
        generate=_sum([drawn.generate for drawn in made]),
        download=_sum([drawn.download for drawn in made]),
        cached=cached > 0,
    )


def _sum(seconds: Sequence[float | None]) -> float | None:
    """The seconds of all prompts; None where one of them is not known."""
    known = [each for each in seconds if each is not None]
    return sum(known) if known and len(known) == len(seconds) else None
