"""What is imported when, and where the work runs on ZeroGPU."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from backends.base import Config, Event, Loading, Picture, Progress, Queued, Readiness, Request
from backends.errors import MissingPackage, MissingWeights
from backends.local import Local
from backends.local.job import LocalJob, ModelSpec
from backends.local.worker import DeviceWorker
from backends.paths import PROJECT
from tests.backends.local.tiny import models as tiny


def test_nothing_heavy_is_imported_before_the_first_run(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        import backends.local, backends.local.control
        from backends.base import Config, Model
        local = backends.local.Local(Config(value=os.environ.get, home=Path(".")))
        for source in ("someone/tiny-model", "assets/nothing", "/nowhere/one.safetensors"):
            model = Model(id="local/x", label="X", family="x", source=source)
            local.ready(model), local.lane(model)
        heavy = {"torch", "diffusers", "transformers", "controlnet_aux", "cv2", "numpy"}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


SPACES = """
    calls = []

    def GPU(function):
        def marked(*arguments):
            calls.append("begun")
            try:
                yield from function(*arguments)
            finally:
                calls.append("left")
        return marked
"""


def work(folder: Path, steps: int = 3) -> LocalJob:
    request = Request(prompt="x", width=64, height=64, num_inference_steps=steps)
    return LocalJob(spec=ModelSpec(source=str(folder), label="Tiny"), request=request, seed=5)


def test_work_can_cross_into_another_process(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(work(tmp_path))) == work(tmp_path)


async def test_without_torch_the_card_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    local = Local(Config(value=os.environ.get, home=tmp_path))
    model = tiny.model(tmp_path)
    assert local.ready(model).state is Readiness.NEEDS_PACKAGE
    with pytest.raises(MissingPackage, match=r'pip install -e "\.\[local\]"'):
        await anext(local.generate(model, Request(prompt="x")))


@pytest.mark.parametrize("warm", [False, True])
async def test_a_cold_first_run_says_that_pytorch_starts(tmp_path: Path, warm: bool) -> None:
    machine = DeviceWorker()
    if warm:
        machine.warm()
    said: list[list[str]] = []
    asked = work(tiny.diffusion(tmp_path / "model"))
    for _ in range(2):
        run = machine.run(asked)
        said.append([event.message async for event in run if isinstance(event, Loading)])
    # It may have started in the meantime where it was warmed.
    assert said[0] == ["starting PyTorch", "loading Tiny"] or (warm and said[0] == ["loading Tiny"])
    assert said[1] == []


async def test_on_zerogpu_the_work_runs_inside_a_marked_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.diffusion(tmp_path / "model")
    plain = [event async for event in DeviceWorker().run(work(folder))]

    (tmp_path / "spaces.py").write_text(dedent(SPACES))
    monkeypatch.syspath_prepend(tmp_path)
    machine = DeviceWorker()
    calls: list[str] = sys.modules["spaces"].calls
    try:
        events = [event async for event in machine.run(work(folder))]
        assert calls == ["begun", "left"]
        assert [type(event) for event in events] == [Queued, *(type(event) for event in plain)]
        assert [e.data for e in events if isinstance(e, Picture)] == [
            e.data for e in plain if isinstance(e, Picture)
        ]

        stopping = machine.run(work(folder, steps=900))
        turn: list[Event] = []
        async for event in stopping:
            turn.append(event)
            if isinstance(event, Progress) and event.step:
                break
        await stopping.aclose()
        # The model is loaded: the end of the wait is an event of its own, before the first look.
        assert isinstance(turn[0], Queued) and turn[1] == Progress()
        assert calls == ["begun", "left"] * 2

        with pytest.raises(MissingWeights):
            async for _ in machine.run(work(tmp_path / "nothing")):
                pass
    finally:
        del sys.modules["spaces"]
