"""Backends are found by name, and none is imported before it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

from backends.base import Backend, Config
from backends.openai.request import Options
from backends.registry import BACKENDS, UnknownBackend, create, options_of


def test_a_backend_is_made_by_name(home: Path) -> None:
    backend = create("openai", Config(value=lambda _: None, home=home))
    assert isinstance(backend, Backend)
    assert (backend.name, backend.label) == ("openai", "OpenAI")
    assert options_of("openai") is Options


@pytest.mark.parametrize("find", [options_of, lambda name: create(name, CONFIG)])  # pyright: ignore
def test_an_unknown_name_is_said_with_the_known_ones(find: object) -> None:
    assert callable(find)
    with pytest.raises(UnknownBackend) as caught:
        find("dall-e")
    assert str(caught.value) == (
        f"There is no backend 'dall-e'; there are {', '.join(sorted(BACKENDS))}."
    )
    assert isinstance(caught.value, LookupError)


CONFIG = Config(value=lambda _: None, home=Path("unused"))


def test_the_list_cannot_be_changed_and_imports_nothing() -> None:
    with pytest.raises(TypeError):
        BACKENDS["x"] = "y"  # type: ignore[index]
    code = (
        "import sys, backends.registry;"
        "print([name for name in sys.modules if name.startswith('backends.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['backends.errors', 'backends.base', 'backends.registry']" or (
        "openai" not in done.stdout and "local" not in done.stdout
    )
