"""Stop in every phase of a run, in every family: no picture comes, and the next run is unharmed."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from torch.nn.modules.module import register_module_forward_pre_hook

from backends.base import Config, Event, Loading, Model, Picture, Progress, Request
from backends.local import Local
from tests.backends.local.faults import DECODERS, FAMILIES, READERS, STEPS, model

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)


class Phase(StrEnum):
    """Where a run is when it is stopped."""

    LOAD = "load"
    TEXT = "text encoding"
    FIRST = "step 1"
    LAST = "last step"
    DECODE = "decode"


IMPOSSIBLE = {("cascade", Phase.DECODE): "its stages work on pixels: nothing is decoded"}


class Halt:
    """Holds the worker's thread where a phase begins, until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self._reading = False

    @contextmanager
    def at(self, phase: Phase) -> Generator[None, None, None]:
        """While this lasts, the phases that no event announces stop the thread."""

        def called(module: Any, _: Any) -> None:
            kind = type(module).__name__
            # A decoder is asked for the previews' colours too, when the model is loaded.
            here = (phase is Phase.TEXT and kind in READERS) or (
                phase is Phase.DECODE and kind in DECODERS and self._reading
            )
            self._reading |= kind in READERS
            if here and not self.reached.is_set():
                self.reached.set()
                assert self.go.wait(60)

        handle = register_module_forward_pre_hook(called)
        try:
            yield
        finally:
            self.go.set()
            handle.remove()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("whole")
    return {family: model(family, here / family) for family in FAMILIES}


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


def _announces(event: Event, phase: Phase, family: str) -> bool:
    match event:
        case Loading(message=message):
            return phase is Phase.LOAD and message.startswith("loading ")
        case Progress(step=step):
            wanted = {Phase.FIRST: 1, Phase.LAST: STEPS[family]}
            return step is not None and step == wanted.get(phase)
        case _:
            return False


CASES = [
    pytest.param(family, phase, id=f"{family}: {phase}") for family in FAMILIES for phase in Phase
]


@pytest.mark.parametrize(("family", "phase"), CASES)
async def test_a_stop(local: Local, models: dict[str, Model], family: str, phase: Phase) -> None:
    if why := IMPOSSIBLE.get((family, phase)):
        pytest.skip(why)
    seen: list[Event] = []
    halt = Halt()

    async def run() -> None:
        # Other words than the next run's, whose embeddings must not be this one's.
        asked = replace(ASK, prompt=f"a blue square, stopped at {phase}")
        async for event in local.generate(models[family], asked):
            seen.append(event)
            if _announces(event, phase, family):
                halt.reached.set()
                await asyncio.sleep(60)  # it is here that the stop finds it

    with halt.at(phase):
        running = asyncio.ensure_future(run())
        assert await asyncio.to_thread(halt.reached.wait, 60)
        running.cancel()
        await asyncio.sleep(0)  # the stop is said before the phase goes on
        halt.go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not any(isinstance(event, Picture) for event in seen)
    if phase in (Phase.LOAD, Phase.TEXT):
        assert not any(isinstance(event, Progress) and event.step for event in seen)

    events = [event async for event in local.generate(models[family], ASK)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    assert picture.data == await _undisturbed(models[family])


async def _undisturbed(model: Model) -> bytes:
    """What that run gives where nothing was stopped before."""
    home = Path(model.source).parent
    backend = Local(Config(value=os.environ.get, home=home))
    await backend.aclose()  # so that it is loaded anew
    events = [event async for event in backend.generate(model, ASK)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    await backend.aclose()
    return picture.data
