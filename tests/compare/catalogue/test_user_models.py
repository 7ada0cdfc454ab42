"""The models that the user's own servers list stand in the catalogue, priced as unknown."""

import subprocess
import sys

import pytest

from backends.base import Request
from backends.paths import PROJECT
from compare.catalogue.listing import lines
from compare.catalogue.user_models import load_all
from compare.lineup import build
from compare.records import RunSpec
from compare.runs.validation import problems
from compare.settings import Settings, SettingsError

SERVERS = "here=http://127.0.0.1:1/v1 qwen-image org/flux.1, there=http://127.0.0.1:2/v1"


async def test_listed_models_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_SERVERS", SERVERS)
    lineup = build(Settings())
    try:
        listed = lines(lineup.catalogue, lineup.availability)
        wrong = problems(
            RunSpec(Request(prompt="a lighthouse")), ["openai@there/new"], lineup.catalogue
        )
    finally:
        await lineup.aclose()
    own = [line for line in listed if line.model.server]
    assert [(line.model.id, line.model.label, line.model.provider) for line in own] == [
        ("openai@here/qwen-image", "qwen-image", "your server here"),
        ("openai@here/org/flux.1", "flux.1", "your server here"),
    ]
    assert [line.price for line in own] == ["unknown", "unknown"]
    assert all(line.ready.state == "ready" for line in own)
    assert wrong == {}, "any other model of a server can be asked for as well"


def test_a_setting_that_cannot_be_read_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_SERVERS", "here")
    with pytest.raises(SettingsError, match="OPENAI_SERVERS must name each server"):
        load_all(Settings())
    for command in (["-m", "compare", "models"], ["app.py"]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=PROJECT
        )
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert "OPENAI_SERVERS must name each server" in done.stderr
