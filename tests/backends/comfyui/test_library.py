"""The library of workflows: names are never paths."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.errors import BadInput
from tests.backends.comfyui.case import ASK, events, keep, workflow
from tests.servers.comfyui import ComfyUIServer


async def test_a_name_is_no_way_out_of_the_folder(home: Path) -> None:
    keep(home, "mine", workflow())
    (home / "secret.json").write_text("{}", encoding="utf-8")
    model = replace(keep(home, "mine", workflow()), source="../secret")
    with ComfyUIServer() as server, pytest.raises(BadInput, match=r"no checkpoint \.\./secret"):
        await events(server, ASK, model, home)
