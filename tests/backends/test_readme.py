"""The how-to beside the code is right: its backend runs, and its names exist."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import backends
from backends.base import Backend, Config, Model, Picture, Progress, Receipt, Request, Sending
from backends.errors import BadInput

README = Path(backends.__file__).with_name("README.md").read_text(encoding="utf-8")
MODEL = Model(id="squares/one", label="Squares", family="toy", source="", most_count=3)


@pytest.fixture
def squares(home: Path) -> Backend:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"__name__": "squares"}
    exec(compile(block, "backends/README.md", "exec"), names)
    return names["Squares"](Config(value=lambda _: None, home=home))


async def test_the_toy_backend_obeys_the_contract(squares: Backend) -> None:
    asked = Request(prompt="a sunset", width=96, height=64, count=9, seed=1)
    events = [event async for event in squares.generate(MODEL, asked)]
    assert isinstance(events[0], Sending)
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    pictures = [event for event in events if isinstance(event, Picture)]
    assert {(picture.width, picture.height) for picture in pictures} == {(96, 64)}
    assert len({picture.data for picture in pictures}) == 3
    assert isinstance(events[-1], Receipt)
    assert events[-1].honoured["count"].note == "3 instead of 9 pictures"
    with pytest.raises(BadInput, match="squares only"):
        _ = [event async for event in squares.generate(MODEL, Request(prompt="a circle"))]


def test_every_name_exists() -> None:
    named = re.findall(r"`(http|http_failures|sse|previews)\.(\w+)`", README)
    named = [(module, name) for module, name in named if name != "py"]
    assert len(named) >= 6
    for module, name in named:
        assert hasattr(importlib.import_module(f"backends.{module}"), name), f"{module}.{name}"
    for file in re.findall(r"`(\w+\.py)`", README):
        assert Path(backends.__file__).with_name(file).exists(), file
