"""A picture whose numbers overflowed is none: the others are kept, and the card says what helps.

Which parts of which families can overflow stands in `faults.py`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from backends.base import Config, Picture, Receipt, Request
from backends.errors import ServiceFault
from backends.local import Local
from backends.local.finite import FiniteCheck, NonFinite, Part, no_picture
from backends.local.job import Adapter, LocalJob, ModelSpec
from tests.backends.local.test_inference import events_of
from tests.backends.local.tiny import models as tiny

JOB = LocalJob(spec=ModelSpec(source="tiny", label="Tiny"), request=Request(prompt="x"), seed=1)


@contextmanager
def overflowing(kind: str, *, row: int, first_call: int = 1) -> Generator[None]:
    """One row of what networks of that class return is lost, from one of their calls on."""
    calls = 0

    def called(module: torch.nn.Module, _: Any, result: Any) -> None:
        nonlocal calls
        calls += type(module).__name__ == kind
        if type(module).__name__ == kind and calls >= first_call:
            (result[0] if isinstance(result, tuple) else result)[row] = float("nan")

    handle = register_module_forward_hook(called)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["UNet2DConditionModel", "Decoder"])
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
async def test_the_others_of_a_batch_are_kept(tmp_path: Path, kind: str) -> None:
    local, model = Local(Config(value={}.get, home=tmp_path)), tiny.model(tiny.diffusion(tmp_path))
    ask = Request(prompt="a circle", seed=5, count=2, num_inference_steps=2)
    whole = await events_of(local, model, ask)
    with overflowing(kind, row=1):
        events = await events_of(local, model, ask)
    first = next(event.data for event in whole if isinstance(event, Picture))
    assert [event.data for event in events if isinstance(event, Picture)] == [first]
    assert isinstance(events[-1], Receipt)
    count = events[-1].honoured["count"]
    assert count.used == 1 and count.note.startswith("1 of 2 not computed")
    await local.aclose()


async def test_what_came_before_is_kept(tmp_path: Path) -> None:
    local, model = Local(Config(value={}.get, home=tmp_path)), tiny.model(tiny.masked(tmp_path))
    ask = Request(prompt="a circle", seed=5, count=3, num_inference_steps=2)  # one by one
    with overflowing("Decoder", row=0, first_call=3):  # the first call fits the preview
        events = await events_of(local, model, ask)
    assert len([event for event in events if isinstance(event, Picture)]) == 1
    assert isinstance(events[-1], Receipt)
    assert events[-1].honoured["count"].note.startswith("2 of 3 not computed")
    await local.aclose()


def test_tokens_are_always_finite() -> None:
    check = FiniteCheck(2)
    for numbers in (torch.zeros(2, 4, dtype=torch.int64), [torch.zeros(2)], None):
        check.add(numbers, Part.DENOISER)
    assert check.finite == [True, True]


def test_a_tile_counts_for_the_whole_batch() -> None:
    with pytest.raises(NonFinite):
        FiniteCheck(3).add(torch.full((1, 3, 4, 4), torch.inf), Part.DECODER)


@pytest.mark.parametrize(
    ("changes", "part", "dtype", "advice"),
    [
        ({}, Part.DENOISER, "float32", "Its weights are damaged"),
        ({}, Part.DECODER, "float32", "Its weights are damaged"),
        ({}, Part.DECODER, "float16", "Try the number format float32; or a version .* VAE"),
        ({}, Part.DENOISER, "bfloat16", "Try the number format float32"),
        ({"scheduler": "X"}, Part.DENOISER, "float32", "Try another scheduler"),
        ({"loras": (Adapter("a", "/a"),)}, Part.DENOISER, "float16", "no LoRA, .*; or the number"),
        ({"request": Request(prompt="x", num_inference_steps=1)}, Part.TOKENS, "", "more steps"),
        ({"spec": replace(JOB.spec, quantization="4 bit")}, Part.DENOISER, "", "no quantization"),
    ],
)
def test_the_advice_fits(changes: dict[str, Any], part: Part, dtype: str, advice: str) -> None:
    error = no_picture(replace(JOB, **changes), part, dtype)
    with pytest.raises(ServiceFault, match=f"Tiny computed no picture.*{advice}.*"):
        raise error
    assert error.charged is False
