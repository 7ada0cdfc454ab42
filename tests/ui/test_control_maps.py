"""Maps of control pictures on the page: each is made once, and their folder has a limit."""

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from backends.base import Control
from ui import control_maps
from ui.control_maps import ControlMaps


def control(side: int, colour: str = "red") -> Control:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return Control(image=file.getvalue(), preprocessor="invert")


def total(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_twenty_who_ask_at_once_have_the_same_map(tmp_path: Path) -> None:
    maps = ControlMaps(tmp_path / "maps")
    paths = await asyncio.gather(*(maps.file(control(40)) for _ in range(20)))
    assert len(set(paths)) == 1
    assert [each.name for each in (tmp_path / "maps").iterdir()] == [paths[0].name]
    with Image.open(paths[0]) as drawn:
        assert drawn.getpixel((0, 0)) == (0, 255, 255)


async def test_one_who_goes_away_does_not_take_the_map_from_the_others(tmp_path: Path) -> None:
    maps = ControlMaps(tmp_path)
    first = asyncio.create_task(maps.file(control(40)))
    second = asyncio.create_task(maps.file(control(40)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).exists()


async def test_the_folder_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_maps, "MAX_BYTES", 5_000)
    maps = ControlMaps(tmp_path)
    paths = [await maps.file(control(40 + number, "blue")) for number in range(12)]
    assert paths[-1].exists()
    assert total(tmp_path) <= 5_000
